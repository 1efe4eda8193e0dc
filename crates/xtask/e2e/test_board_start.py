"""How the firmware starts and ends in its emulator, and that a test hears of it."""

from board import Imac, Imc
from camwire import PATIENCE, Case


class AtomicsOnImc(Imc):
    """The firmware with atomic instructions, on the processor without."""

    firmware = Imac.firmware


class Start(Case):
    def test_ends_by_itself(self):
        for self.subject in (Imc, Imac):
            with self.subTest(board=self.subject.__name__):
                board = self.serve(seconds=3)
                self.assertEqual(board.get("/capture").status, 200)
                self.assertEqual(board.process.wait(PATIENCE), 0, board.log)
                board.reader.join(PATIENCE)
                self.assertRegex(board.log, r"robot: \d+ steps, \d+ skipped, at worst \d+ us late")

    def test_panic_fails_the_test_and_says_why(self):
        for self.subject in (Imc, Imac):
            with self.subTest(board=self.subject.__name__):
                says = r"(?s)ended with 101:.*panicked at src/.*not an argument.*: nonsense"
                self.assertRaisesRegex(AssertionError, says, self.serve, nonsense=1)

    def test_trap_fails_the_test_and_says_why(self):
        self.subject = AtomicsOnImc
        illegal_instruction = r"(?s)ended with 102:.*trap: cause 2, at 0x8"
        self.assertRaisesRegex(AssertionError, illegal_instruction, self.serve)
