"""A form that posts a mammogram to OncoPixel PACS and shows the answer."""
