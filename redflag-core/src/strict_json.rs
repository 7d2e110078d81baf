//! JSON in exactly one form: keys sorted and each once, no space, integers only, escapes as short as they can be.
//!
//! It is the form of RFC 8785 for the values that commands and audit entries are made of. Reading accepts exactly what writing makes: what was parsed is
//! written again and must give the same bytes, so that two readers cannot understand one text in two ways. What was signed are
//! always the bytes as they came, never the ones written here.

use serde::{Serialize, de::DeserializeOwned};

/// `value` in the one form.
///
/// # Panics
/// When the value cannot be JSON; what is signed or chained always can.
pub(crate) fn write(value: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(value).expect("what is signed has keys that are texts");
    value.sort_all_objects();
    serde_json::to_vec(&value).expect("a JSON value always serialises")
}

/// Reads bytes that are in the one form.
///
/// # Errors
/// With what is wrong, for people, when they are not a `T` or are in another form.
pub(crate) fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if write(&value) == bytes {
        return Ok(value);
    }
    Err("not in canonical form (sorted keys, each once, no space, integers only)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn one_form_is_read_and_no_other() {
        type Map = BTreeMap<String, Vec<i64>>;
        let one = r#"{"a":[1],"b":[-2,3],"é\n":[]}"#;
        assert_eq!(write(&read::<Map>(one.as_bytes()).unwrap()), one.as_bytes());
        for other in [
            r#"{"b":[-2,3],"a":[1],"é\n":[]}"#,
            r#"{"a":[1],"a":[1],"b":[-2,3],"é\n":[]}"#,
            r#"{"a":[1], "b":[-2,3],"é\n":[]}"#,
            r#"{"a":[1],"b":[-2,3],"\u00e9\n":[]}"#,
            r#"{"a":[1],"b":[-2,3],"é\u000a":[]}"#,
            r#"{"a":[1.0],"b":[-2,3],"é\n":[]}"#,
            r#"{"a":[1],"b":[-2,3e0],"é\n":[]}"#,
            r#"{"a":[1],"b":[-2,3],"é\n":[]}x"#,
            "{\"a\":[1],\"b\":[-2,3],\"é\\n\":[]}\n",
        ] {
            assert!(read::<Map>(other.as_bytes()).is_err(), "{other}");
        }
    }
}
