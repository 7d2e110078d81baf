//! QR codes as paths of SVG, which need neither a script nor another request.

use crate::problem::Problem;
use qrcodegen::QrCodeEcc;
use std::fmt::Write as _;

/// Light modules around the dark ones, which readers need (ISO/IEC 18004).
const QUIET: i32 = 4;

/// A QR code.
pub(super) struct QrCode {
    /// Modules on a side, the quiet zone included.
    pub(super) side: i32,
    /// The dark modules, as the path of an SVG.
    pub(super) path: String,
}

impl QrCode {
    /// The QR code of a text.
    ///
    /// # Errors
    /// When the text is longer than a QR code holds, which none of ours is.
    pub(super) fn of(text: &str) -> Result<Self, Problem> {
        let code = qrcodegen::QrCode::encode_text(text, QrCodeEcc::Medium).map_err(|error| Problem::internal(&error))?;
        let mut path = String::new();
        for y in 0..code.size() {
            for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
                write!(path, "M{},{}h1v1h-1z", x + QUIET, y + QUIET).expect("strings take everything");
            }
        }
        Ok(Self { side: code.size() + 2 * QUIET, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three corners that readers look for are where they must be, with the quiet zone around them.
    #[test]
    fn the_path_has_the_corners_of_a_qr_code() {
        let QrCode { side, path } =
            QrCode::of("otpauth://totp/RedFlag:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=RedFlag").unwrap();
        let dark = |x: i32, y: i32| path.contains(&format!("M{x},{y}h1v1h-1z"));
        let (first, last) = (QUIET, side - QUIET - 7);
        for (left, top) in [(first, first), (last, first), (first, last)] {
            for step in 0..7 {
                assert!(dark(left + step, top) && dark(left, top + step), "a dark edge at {left},{top}");
            }
            for step in 1..6 {
                assert!(!dark(left + step, top + 1) && !dark(left + 1, top + step), "and a light ring within");
            }
        }
        assert!((0..side).all(|at| (0..QUIET).all(|edge| !dark(at, edge) && !dark(edge, at))), "the quiet zone is light");
        assert_eq!(path.matches('M').count(), path.matches("h1v1h-1z").count());
    }
}
