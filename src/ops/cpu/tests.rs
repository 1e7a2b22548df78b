//! Operations against plain references.
