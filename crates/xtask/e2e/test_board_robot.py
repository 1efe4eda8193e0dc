"""What the firmware is for goes on, whatever happens at its server."""

import os

import board
import pytest
from camwire import wait_until


@pytest.mark.target("imc", "imac")
@pytest.mark.parametrize("steps", [100, pytest.param(500, marks=pytest.mark.deep)])
def test_robot_walks_on_while_ten_clients_view(serve, watch, steps):
    """So many steps, of 20 ms each, none of which is skipped, while ten view, others take
    snapshots, and others send nonsense.

    The emulator sees to it that the firmware gets no more done in that time than an ESP32-C3
    would. But when this machine is busy, the emulator itself may wake up so late that steps
    are skipped; hence there must be such a stretch, and it need not be the first.
    """
    robot = serve(frames=board.frames(), slow=True, fps=15)
    viewers = [watch(robot) for _ in range(robot.places)]
    first = robot.get("/robot").json()

    def disturb():
        assert robot.get_at_last("/capture").status == 200
        try:
            with robot.request(os.urandom(5000)) as connection:
                connection.recv(100)
        except ConnectionError:
            pass

    def walked():
        nonlocal first
        disturb()
        now = robot.get_at_last("/robot").json()
        if now["skipped"] > first["skipped"]:
            first = now
        return now["steps"] - first["steps"] >= steps

    board.while_reading(viewers, lambda: wait_until("it walks on", walked, pause=0))
