"""What TID 4000 to 4017 ask of the items that a CAD report of ours holds."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.sr.coding import Code

from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation

# Parts of each kind of item that must stand in it exactly once.
ONCE: Mapping[str, tuple[Code, ...]] = {
    codes.MAMMOGRAPHY_CAD_REPORT.value: (
        codes.LANGUAGE,
        codes.IMAGE_LIBRARY,
        codes.CAD_SUMMARY,
        codes.SUMMARY_OF_DETECTIONS,
        codes.SUMMARY_OF_ANALYSES,
    ),
    codes.CAD_SUMMARY.value: (codes.IMPRESSION_DESCRIPTION,),
    codes.INDIVIDUAL_IMPRESSION.value: (codes.RENDERING_INTENT,),
    codes.COMPOSITE_FEATURE.value: (
        codes.RENDERING_INTENT,
        codes.COMPOSITE_TYPE,
        codes.SCOPE_OF_FEATURE,
        codes.ALGORITHM_NAME,
        codes.ALGORITHM_VERSION,
    ),
    codes.SINGLE_IMAGE_FINDING.value: (
        codes.RENDERING_INTENT,
        codes.TRACKING_IDENTIFIER,
        codes.TRACKING_UID,
        codes.ALGORITHM_NAME,
        codes.ALGORITHM_VERSION,
        codes.PROBABILITY_OF_CANCER,
        codes.CENTER,
        codes.OUTLINE,
    ),
    codes.DETECTION_PERFORMED.value: (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION),
    codes.ANALYSIS_PERFORMED.value: (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION),
}
RELATIONS: Mapping[str, tuple[Relation, ...]] = {
    name.value: relations
    for relations, names in (
        (
            (Relation.CONTAINS,),
            (
                codes.IMAGE_LIBRARY,
                codes.CAD_SUMMARY,
                codes.COMPOSITE_FEATURE,
                codes.SUMMARY_OF_DETECTIONS,
                codes.DETECTION_PERFORMED,
                codes.SUMMARY_OF_ANALYSES,
                codes.ANALYSIS_PERFORMED,
            ),
        ),
        ((Relation.HAS_CONCEPT_MOD,), (codes.LANGUAGE, codes.RENDERING_INTENT)),
        ((Relation.HAS_OBS_CONTEXT,), (codes.TRACKING_IDENTIFIER, codes.TRACKING_UID)),
        (
            (Relation.HAS_PROPERTIES,),
            (
                codes.IMPRESSION_DESCRIPTION,
                codes.ALGORITHM_NAME,
                codes.ALGORITHM_VERSION,
                codes.ALGORITHM_PARAMETERS,
                codes.COMPOSITE_TYPE,
                codes.SCOPE_OF_FEATURE,
                codes.PROBABILITY_OF_CANCER,
                codes.CENTER,
                codes.OUTLINE,
            ),
        ),
        (
            (Relation.INFERRED_FROM,),
            (
                codes.INDIVIDUAL_IMPRESSION,
                codes.SUCCESSFUL_DETECTIONS,
                codes.FAILED_DETECTIONS,
                codes.SUCCESSFUL_ANALYSES,
            ),
        ),
    )
    for name in names
}
