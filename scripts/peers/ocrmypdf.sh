# shellcheck shell=bash
# OCRmyPDF, beside which `./dev bench ocr` measures: the distribution's own, with the fonts of which the pages are made.

NEEDS_OF_OCRMYPDF='program ocrmypdf | ocrmypdf
file    /usr/share/fonts/*/urw-base35/NimbusRoman-Regular.* | fonts-urw-base35'
