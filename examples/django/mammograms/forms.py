"""What a person is asked for."""

from django import forms

NOT_SAID = [("", "not said")]


class MammogramForm(forms.Form):
    """One image, and what is to be said of it when it is no DICOM file."""

    image = forms.FileField(help_text="DICOM, zip of DICOM, PNG, JPEG or TIFF")
    laterality = forms.ChoiceField(
        choices=[*NOT_SAID, ("R", "right"), ("L", "left")], required=False
    )
    view = forms.ChoiceField(choices=[*NOT_SAID, ("CC", "CC"), ("MLO", "MLO")], required=False)
    pixel_spacing_mm = forms.FloatField(required=False, min_value=0.005, max_value=5)
    patient_id = forms.CharField(required=False, max_length=64, help_text="a pseudonym")
