"""Is a probability of .8 right eight times in ten? See `faceops.verification.reliability`."""

from faceops.verification.reliability import Reliability as Reliability
from faceops.verification.reliability import reliability as reliability
