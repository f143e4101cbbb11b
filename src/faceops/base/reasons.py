"""The closed enumerations of the identification record: decisions and reason codes."""

from enum import StrEnum


class DecisionKind(StrEnum):
    """The values of the column `decision`."""

    IDENTIFIED = "identified"
    UNKNOWN = "unknown"
    REJECTED = "rejected"


KINDS = tuple(DecisionKind)
IDENTIFIED, UNKNOWN, REJECTED = range(len(KINDS))  # their places in columns


class Reason(StrEnum):
    """Why a photo or a face was not used, or a face was not named. The codes are stable."""

    # A photo that cannot be used.
    EMPTY = "empty"  # zero bytes
    NOT_A_PHOTO = "not_a_photo"  # no image format that we read
    UNSUPPORTED_FORMAT = "unsupported_format"  # a picture that is not read, or needs an extra
    UNREADABLE = "unreadable"  # truncated, corrupt, or no permission
    VANISHED = "vanished"  # listed, then gone
    TOO_LARGE = "too_large"  # over the limit on pixels or bytes
    TOO_SMALL = "too_small"  # under the smallest side in pixels
    FORMAT_NOT_ALLOWED = "format_not_allowed"  # readable, but not in the allowed formats
    BAD_NAME = "bad_name"  # the person's name is not well-formed
    DUPLICATE = "duplicate"  # the same photo again, of the same person
    DUPLICATE_OTHER_PERSON = "duplicate_other_person"  # the same photo under two people
    NEAR_DUPLICATE_OTHER_PERSON = "near_duplicate_other_person"  # perceptually the same, two people
    QUARANTINED = "quarantined"  # set aside by a person
    # A face that cannot be used.
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"  # a training or enrolment photo in which we cannot choose
    FACE_TOO_SMALL = "face_too_small"
    BLURRED = "blurred"  # an enrolment photo
    EXTREME_POSE = "extreme_pose"  # an enrolment photo that shows the face from the side
    LOW_QUALITY = "low_quality"
    NO_AGREEMENT = "no_agreement"  # an enrolment photo that is unlike the person's others
    TAG_CONFLICT = "tag_conflict"  # names that other programs gave in a photo contradict each other
    FORGOTTEN = "forgotten"  # of a person whose data were removed at request
    # A face that is not named.
    BELOW_THRESHOLD = "below_threshold"
    AMBIGUOUS = "ambiguous"  # runner-up too close, or the person is already in this photo
    GALLERY_EMPTY = "gallery_empty"
    # A face about which a person decided; the first is the only reason of a named face.
    CONFIRMED = "confirmed"
    REFUSED_BY_PERSON = "refused_by_person"  # below the threshold, without the people refused
    IGNORED = "ignored"  # a stranger or no face: nobody is to be asked about it


REASONS = tuple(Reason)
NO_REASON = -1
# The place of each in `REASONS`, as in columns.
CODES: dict[Reason | None, int] = {None: NO_REASON, **{one: at for at, one in enumerate(Reason)}}
