"""Arguments, exit codes, Ctrl-C."""

import socket
import subprocess

from camwire import HOST, Case, PATIENCE, Server, run


class Cli(Case):
    def assert_one_sentence(self, done, mentions=""):
        said = done.stderr.decode()
        self.assertTrue(said.strip(), "it says what is wrong")
        for word in ("panicked", "backtrace", "thread '"):
            self.assertNotIn(word, said)
        # A sentence, and at most the hint that clap adds.
        self.assertLessEqual(len([line for line in said.splitlines() if line.strip()]), 5, said)
        self.assertIn(mentions, said)

    def test_help_has_examples(self):
        for args in (["--help"], ["serve", "--help"]):
            done = run(HOST, *args)
            self.assertEqual(done.returncode, 0)
            self.assertIn(b"--source", run(HOST, "serve", "--help").stdout)
        self.assertIn(b"camwire-host serve", done.stdout)

    def test_wrong_arguments_exit_with_2(self):
        for args in (
            ["--nonsense"],
            ["nonsense"],
            ["serve", "--fps", "fast"],
            ["serve", "--fps", "-1"],
            ["serve", "--quality", "64"],
            ["serve", "--quality", "good"],
            ["serve", "--resolution", "NOPE"],
            ["serve", "--policy", "drop-some"],
            ["serve", "--source", "nonsense:x"],
            ["serve", "--source", "http://"],
            ["serve", "--listen", "nowhere"],
            ["serve", "--listen", "127.0.0.1:99999"],
            ["serve", "--max-viewers", "many"],
        ):
            with self.subTest(args=args):
                done = run(HOST, *args, patience=20)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assert_one_sentence(done)

    def test_source_that_is_not_there(self):
        for source in ("dir:/nonexistent/folder", "file:/nonexistent/film.mjpeg"):
            with self.subTest(source=source):
                done = run(HOST, "serve", "--listen", "127.0.0.1:0", "--source", source, patience=20)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assert_one_sentence(done, mentions="/nonexistent/")

    def test_port_in_use_exits_with_1(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = run(HOST, "serve", "--listen", f"127.0.0.1:{port}", patience=20)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assert_one_sentence(done, mentions=str(port))

    def test_no_argument_is_serve_on_8080(self):
        """On a machine where 8080 is taken, it says so."""
        process = subprocess.Popen(
            [HOST], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            line = process.stdout.readline().decode()
            while line and "http://127.0.0.1:8080" not in line:
                line = process.stdout.readline().decode()
            if not line:
                self.assertEqual(process.wait(timeout=PATIENCE), 1)
                self.assertIn(b"8080", process.stderr.read())
        finally:
            process.kill()
            process.communicate()

    def test_several_addresses(self):
        server = self.serve("--listen", "127.0.0.1:0")
        server.get("/healthz")
        import re

        ports = set(re.findall(r"http://127\.0\.0\.1:(\d+)", server.log))
        self.assertEqual(len(ports), 2, server.log)

    def test_an_address_given_twice_is_one(self):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            address = f"127.0.0.1:{unused.getsockname()[1]}"
        server = self.serve("--listen", address, "--listen", address)
        server.get("/healthz")
        self.assertEqual(server.log.count(address), 1, server.log)

    def test_interrupt_ends_it_cleanly(self):
        server = self.serve()
        server.get("/capture")
        self.assertEqual(server.interrupt(), 0)
        self.assertNotIn("panicked", server.log)

    def test_interrupt_with_viewers(self):
        server = self.serve()
        viewers = [self.watch(server) for _ in range(3)]
        for viewer in viewers:
            viewer.parts(2)
        # Nobody reads from these again.
        self.assertEqual(server.interrupt(), 0)
        self.assertNotIn("panicked", server.log)
