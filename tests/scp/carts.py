"""What echo machines propose: the patterns that made other receivers lose images.

Each is a list of (SOP class, transfer syntaxes), one entry for each presentation context.
"""

US = "1.2.840.10008.5.1.4.1.1.6.1"
US_LOOP = "1.2.840.10008.5.1.4.1.1.3.1"
OLD_US = "1.2.840.10008.5.1.4.1.1.6"
OLD_US_LOOP = "1.2.840.10008.5.1.4.1.1.3"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
PHILIPS_3D = "1.2.840.113543.6.6.1.3.10002"
GE_PRIVATE = "1.2.840.113619.4.26"
VERIFICATION = "1.2.840.10008.1.1"

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
MPEG4 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"
GE_SYNTAX = "1.2.840.113619.5.2"

Proposal = list[tuple[str, list[str]]]

# Philips Affiniti: private 3D and enhanced classes beside the images; a receiver that knew
# only some of them got its SR and no image (pynetdicom issue 1006).
AFFINITI: Proposal = [
    (VERIFICATION, [IMPLICIT]),
    (US, [JPEG, EXPLICIT, IMPLICIT]),
    (US_LOOP, [JPEG, EXPLICIT, IMPLICIT]),
    (ENHANCED_VOLUME, [EXPLICIT, IMPLICIT]),
    (PHILIPS_3D, [EXPLICIT, IMPLICIT]),
    (SECONDARY_CAPTURE, [JPEG, EXPLICIT, IMPLICIT]),
    (COMPREHENSIVE_SR, [EXPLICIT, IMPLICIT]),
]

# GE Voluson: loops as JPEG Baseline or not at all; refused, it aborts (pynetdicom issue 670).
VOLUSON: Proposal = [
    (US, [IMPLICIT, EXPLICIT, BIG_ENDIAN]),
    (US_LOOP, [JPEG]),
    (COMPREHENSIVE_SR, [IMPLICIT]),
]

# GE LOGIQ E10: one context for each class and syntax, retired classes too (dcm4che issue 957).
LOGIQ_E10: Proposal = [
    (abstract, [syntax])
    for abstract in (US, US_LOOP, OLD_US, OLD_US_LOOP, SECONDARY_CAPTURE, GE_PRIVATE)
    for syntax in (JPEG, JPEG_LOSSLESS, JPEG_2000, RLE, IMPLICIT, GE_SYNTAX)
]

# Not one cart: every class with the same two syntaxes in both orders.
BOTH_ORDERS: Proposal = [
    (abstract, syntaxes)
    for abstract in (US, US_LOOP)
    for syntaxes in ([JPEG, EXPLICIT], [EXPLICIT, JPEG], [IMPLICIT, EXPLICIT, JPEG])
]

CARTS = {
    "Affiniti": AFFINITI,
    "Voluson": VOLUSON,
    "LOGIQ E10": LOGIQ_E10,
    "both orders": BOTH_ORDERS,
}
