"""OpenCV, as in every tutorial about cameras."""

import cv2

from camwire import Case


class OpenCv(Case):
    def test_reads_pictures_that_change(self):
        capture = cv2.VideoCapture(self.serve().url("/stream"))
        self.addCleanup(capture.release)
        self.assertTrue(capture.isOpened())
        pictures = set()
        for _ in range(30):
            ok, picture = capture.read()
            self.assertTrue(ok)
            self.assertEqual(picture.shape, (480, 640, 3))
            pictures.add(picture.tobytes())
        self.assertGreater(len(pictures), 20)
