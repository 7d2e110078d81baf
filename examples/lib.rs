//! Runnable examples of RedFlag; see the files beside this one.
