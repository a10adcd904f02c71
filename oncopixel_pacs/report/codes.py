"""Every coded concept that result objects use, in one table.

Code meanings are written out in ASCII: the meanings that come with pydicom hold zero-width
spaces in places, which no validator finds and some character sets cannot carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs.domain import Concept, Laterality, Reason, View
from oncopixel_pacs.report.sequence_item import new_item


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _ucum(value: str, meaning: str) -> Code:
    return Code(value, "UCUM", meaning)


# TID 1500 Measurement Report and the templates that it includes
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")  # CID 7021
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")  # CID 100
US_ENGLISH = Code("en-US", "RFC5646", "English (United States)")  # CID 5000
COMMENT = _dcm("121106", "Comment")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
TRACKING_IDENTIFIER = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
IMAGE_REGION = _dcm("111030", "Image Region")  # TID 1410
REFERENCED_SEGMENTATION_FRAME = _dcm("121214", "Referenced Segmentation Frame")  # TID 1410
SOURCE_FOR_SEGMENTATION = _dcm("121233", "Source image for segmentation")  # TID 1410

# TID 1204 language, TID 1001 and 1004 observer
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")  # CID 270
DEVICE_OBSERVER_UID = _dcm("121012", "Device Observer UID")
DEVICE_OBSERVER_NAME = _dcm("121013", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL = _dcm("121015", "Device Observer Model Name")
DEVICE_OBSERVER_SERIAL = _dcm("121016", "Device Observer Serial Number")

# TID 1600 Image Library and TID 1603 Projection Radiography Descriptors
IMAGE_LIBRARY = _dcm("111028", "Image Library")
SOURCE = _sct("260753009", "Source")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MODALITY = _dcm("121139", "Modality")
MAMMOGRAPHY = _dcm("MG", "Mammography")  # CID 29
MODALITIES: Mapping[str, Code] = MappingProxyType(
    {
        code.value: code
        for code in (
            _dcm("CR", "Computed Radiography"),  # CID 29
            _dcm("CT", "Computed Tomography"),  # CID 29
            _dcm("DX", "Digital Radiography"),  # CID 29
            _dcm("GM", "General Microscopy"),  # CID 29
            _dcm("MR", "Magnetic Resonance"),  # CID 29
            _dcm("SM", "Slide Microscopy"),  # CID 29
            _dcm("US", "Ultrasound"),  # CID 29
            _dcm("XC", "External-camera Photography"),  # CID 29
        )
    }
)  # CID 29
OTHER_MODALITY = _dcm("OT", "Other Modality")  # CID 29
IMAGE_LATERALITY = _dcm("111027", "Image Laterality")
IMAGE_VIEW = _dcm("111031", "Image View")
PATIENT_ORIENTATION_ROW = _dcm("111044", "Patient Orientation Row")
PATIENT_ORIENTATION_COLUMN = _dcm("111043", "Patient Orientation Column")
HORIZONTAL_PIXEL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
PIXEL_DATA_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_DATA_COLUMNS = _dcm("110911", "Pixel Data Columns")

# Measurements (TID 1419) and where they were made
AREA = _sct("42798000", "Area")
LONG_AXIS = _sct("103339001", "Long Axis")  # CID 7471
SHORT_AXIS = _sct("103340004", "Short Axis")  # CID 7471
PROBABILITY = _dcm("122157", "Probability")
PROBABILITY_OF_CANCER = _dcm("111047", "Probability of cancer")
DERIVATION = _dcm("121401", "Derivation")
MEAN = _sct("373098007", "Mean")  # CID 7464
MAXIMUM = _sct("56851009", "Maximum")  # CID 7464
FINDING_SITE = _sct("363698007", "Finding Site")
LATERALITY = _sct("272741003", "Laterality")
BREAST = _sct("76752008", "Breast")  # CID 4013
SIDES: Mapping[Laterality, Code] = MappingProxyType(
    {Laterality.RIGHT: _sct("24028007", "Right"), Laterality.LEFT: _sct("7771000", "Left")}
)  # CID 244
VIEWS: Mapping[View, Code] = MappingProxyType(
    {
        View.CC: _sct("399162004", "cranio-caudal"),
        View.MLO: _sct("399368009", "medio-lateral oblique"),
    }
)  # CID 4014

# What a finding is. The models find suspicious regions; they do not tell masses from
# calcifications, so nothing narrower is claimed.
ABNORMAL_STRUCTURE = _sct("49755003", "Morphologically Abnormal Structure")  # CID 7150
LESION = _sct("52988006", "Lesion")  # CID 7159
TISSUE = _sct("85756007", "Tissue")  # CID 7150

# TID 4000 Mammography CAD Report and the templates that it includes
MAMMOGRAPHY_CAD_REPORT = _dcm("111036", "Mammography CAD Report")
CAD_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
ALL_SUCCEEDED_NO_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")  # CID 6047
ALL_SUCCEEDED_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")
SOME_SUCCEEDED_NO_FINDINGS = _dcm("111243", "Not all algorithms succeeded; without findings")
SOME_SUCCEEDED_FINDINGS = _dcm("111244", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED = _dcm("111245", "No algorithms succeeded; without findings")
IMPRESSION_DESCRIPTION = _dcm("111033", "Impression Description")
INDIVIDUAL_IMPRESSION = _dcm("111034", "Individual Impression/Recommendation")
RENDERING_INTENT = _dcm("111056", "Rendering Intent")
PRESENTATION_REQUIRED = _dcm(
    "111150", "Presentation Required: Rendering device is expected to present"
)  # CID 6034
SINGLE_IMAGE_FINDING = _dcm("111059", "Single Image Finding")
CENTER = _dcm("111010", "Center")
OUTLINE = _dcm("111041", "Outline")
COMPOSITE_FEATURE = _dcm("111015", "Composite Feature")
COMPOSITE_TYPE = _dcm("111016", "Composite Type")
RELATED_SPATIALLY = _dcm("111154", "Target content items are related spatially")  # CID 6035
SCOPE_OF_FEATURE = _dcm("111057", "Scope of Feature")
ON_MULTIPLE_IMAGES = _dcm("111158", "Feature detected on multiple images")  # CID 6036
SUMMARY_OF_DETECTIONS = _dcm("111064", "Summary of Detections")
SUCCESSFUL_DETECTIONS = _dcm("111063", "Successful Detections")
FAILED_DETECTIONS = _dcm("111025", "Failed Detections")
DETECTION_PERFORMED = _dcm("111022", "Detection Performed")
SUMMARY_OF_ANALYSES = _dcm("111065", "Summary of Analyses")
SUCCESSFUL_ANALYSES = _dcm("111062", "Successful Analyses")
ANALYSIS_PERFORMED = _dcm("111004", "Analysis Performed")
SPATIAL_COLLOCATION = _sct("133884007", "Spatial collocation analysis")  # CID 6043
SUCCEEDED = _dcm("111222", "Succeeded")  # CID 6042
PARTIALLY_SUCCEEDED = _dcm("111223", "Partially Succeeded")
FAILED = _dcm("111224", "Failed")
NOT_ATTEMPTED = _dcm("111225", "Not Attempted")
STUDY_DATE = _dcm("111060", "Study Date")
STUDY_TIME = _dcm("111061", "Study Time")
SIDED_BREASTS: Mapping[Laterality, Code] = MappingProxyType(
    {
        Laterality.RIGHT: _sct("73056007", "Right breast"),
        Laterality.LEFT: _sct("80248007", "Left breast"),
    }
)  # CID 6022
# CID 6014 has no lesion of unknown type. "Selected region" (111099) would claim least, but
# TID 4006 forbids a probability of cancer on it. A density is what a mass is on one image, and
# single calcifications are smaller than the models' pixels.
CAD_LESION = _sct("129793001", "Mammography breast density")  # CID 6014 and 6016

# Units
SQUARE_MILLIMETRE = _ucum("mm2", "Square millimeter")
MILLIMETRE = _ucum("mm", "millimeter")
PERCENT = _ucum("%", "Percent")
PIXELS = _ucum("{pixels}", "Pixels")

# Equipment and algorithms (TID 4019)
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")  # CID 7162
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")  # CID 7005

# TID 2010 Key Object Selection
OF_INTEREST = _dcm("113000", "Of Interest")  # CID 7010
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")

REJECTED = _dcm("113001", "Rejected for Quality Reasons")  # CID 7010

# Why an image was not analysed: no standard code says it, so they are ours, and each document
# that uses one identifies the scheme (PS3.3 C.12.1.1.2).
PRIVATE_SCHEME = "99ONCOPIXEL"
SHARE_OF_PICTURE = Code("share-of-picture", PRIVATE_SCHEME, "Share of the pixels of the picture")
NOT_ANALYSED = Code("not-analysed", PRIVATE_SCHEME, "Why the image was not analysed")
REASONS: Mapping[Reason, Code] = MappingProxyType(
    {
        # A code value has at most 16 characters.
        reason: Code(reason.value[:16], PRIVATE_SCHEME, reason.value.replace("-", " ").capitalize())
        for reason in Reason
    }
)

# Pictures
SOURCE_IMAGE = _dcm("121322", "Source image for image processing operation")  # CID 7202


def scheme_item() -> Dataset:
    """Item of Coding Scheme Identification Sequence (0008,0110) for our own codes."""
    item = new_item()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "OncoPixel PACS: what no standard code says"
    item.CodingSchemeResponsibleOrganization = "OncoPixel"
    return item


def modality(value: str) -> Code:
    """Code of a Modality (0008,0060); ``OT`` for one that is not in the table."""
    return MAMMOGRAPHY if value == MAMMOGRAPHY.value else MODALITIES.get(value, OTHER_MODALITY)


def code_of(concept: Concept) -> Code:
    """Code of a concept that a bundle states."""
    return Code(concept.value, concept.scheme, concept.meaning)


def code_item(code: Code) -> Dataset:
    """Item of a code sequence, PS3.3 table 8.8-1 (basic code sequence macro)."""
    item = new_item()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
