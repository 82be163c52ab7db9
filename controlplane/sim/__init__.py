"""A fleet in virtual time: discrete events around the real decisions of `fleet`, for what-if questions and for measurements."""
