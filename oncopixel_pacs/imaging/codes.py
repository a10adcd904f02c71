"""Codes that headers of mammograms use, in SNOMED CT and in the older SNOMED-RT.

SNOMED-RT values came under the designators SRT and SNM3 (PS3.16 8.1.1); the values of the two
systems do not overlap, so the value alone says what is meant.
"""

from __future__ import annotations

from collections.abc import Mapping

from oncopixel_pacs.domain import Laterality, Ordered, View

#: PS3.16 CID 4014, View for Mammography.
VIEWS: Mapping[str, View] = {
    "399162004": View.CC,
    "R-10242": View.CC,
    "399368009": View.MLO,
    "R-10226": View.MLO,
    **dict.fromkeys(
        (
            "399260004",  # medio-lateral
            "R-10224",
            "399352003",  # latero-medial
            "R-10228",
            "399099002",  # latero-medial oblique
            "R-10230",
            "399196006",  # caudo-cranial
            "R-10244",
            "399188001",  # superolateral to inferomedial oblique
            "R-102D0",
            "441555000",  # inferomedial to superolateral oblique
            "R-40AAA",
            "399192008",  # cranio-caudal exaggerated laterally
            "R-1024A",
            "Y-X1770",
            "399101009",  # cranio-caudal exaggerated medially
            "R-1024B",
            "Y-X1771",
            "R-102CF",  # cranio-caudal exaggerated
            "127457009",  # tissue specimen from breast
            "G-8310",
        ),
        View.OTHER,
    ),
}

#: PS3.16 CID 4015, View Modifier for Mammography: Implant Displaced.
IMPLANT_DISPLACED = frozenset({"399209000", "R-102D5"})

#: PS3.16 CID 244, Laterality, and CID 6022, Side: one breast.
SIDES: Mapping[str, Laterality] = {
    "24028007": Laterality.RIGHT,
    "G-A100": Laterality.RIGHT,
    "73056007": Laterality.RIGHT,
    "T-04020": Laterality.RIGHT,
    "7771000": Laterality.LEFT,
    "G-A101": Laterality.LEFT,
    "80248007": Laterality.LEFT,
    "T-04030": Laterality.LEFT,
}

#: Procedures in SNOMED CT, and in LOINC as PS3.16 CID 6050 lists them.
ORDERED: Mapping[str, Ordered] = {
    "566571000119105": Ordered.RIGHT,
    "37774-7": Ordered.RIGHT,
    "572701000119102": Ordered.LEFT,
    "36627-8": Ordered.LEFT,
    "43204002": Ordered.BOTH,
    "36626-0": Ordered.BOTH,
    "46339-8": Ordered.ONE,
}
