import pytest


@pytest.fixture(autouse=True)
def project(paperspace_server):
    paperspace_server.paperspace.add_project("mine", tags=["gpu", "stage:training", "approved:ada"])


def test_an_approved_project_moves_on(paperspace_server, run_dag):
    run = run_dag("dags/release.py", {"stage": "testing"})

    assert run.state == "success"
    assert run.tasks == {"wait": "success", "release": "success"}
    assert paperspace_server.paperspace.tag_names("mine") == ["gpu", "approved:ada", "stage:testing"]


def test_a_refused_project_fails_the_run(paperspace_server, run_dag):
    paperspace_server.fault("403", method="POST", times=0)

    run = run_dag("dags/release.py")

    assert (run.state, run.tasks["release"]) == ("failed", "failed")
    assert "stage:training" in paperspace_server.paperspace.tag_names("mine")
