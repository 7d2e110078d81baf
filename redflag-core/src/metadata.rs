//! Free metadata of a candidate: one strict, bounded JSON object.
//!
//! Databases disagree about JSON (one keeps the last of two equal keys, another refuses U+0000, a third turns 2^64 into a
//! float), so core settles it: keys are unique, texts hold no NUL, numbers are integers of 64 bits or finite floats, nesting and
//! size are bounded, and the kept form is canonical (sorted keys, no spaces). What is left, every backend stores as text.

use crate::{
    limits,
    rejection::{Rejection, RejectionCode},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value, value::RawValue};
use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

/// A JSON object in canonical form, at most [`limits::METADATA_BYTES_MAX`] bytes and [`limits::METADATA_DEPTH_MAX`] deep.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// Parses an object strictly.
    ///
    /// # Errors
    /// When the text is no JSON object, holds a key twice, a NUL, or a number no backend keeps exactly, or is over a limit.
    pub fn parse(json: &str) -> Result<Self, Rejection> {
        let problem = RefCell::new(None);
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let seed = Strict { depth: 0, problem: &problem };
        let value = de::DeserializeSeed::deserialize(seed, &mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        let value = value.map_err(|error| {
            let code = problem.take().unwrap_or(RejectionCode::Malformed);
            Rejection::new(code, "metadata", error.to_string())
        })?;
        Self::canonical(&value)
    }

    fn canonical(value: &Value) -> Result<Self, Rejection> {
        if !value.is_object() {
            return Err(Rejection::new(RejectionCode::Malformed, "metadata", "must be a JSON object"));
        }
        let canonical = value.to_string();
        if canonical.len() > limits::METADATA_BYTES_MAX {
            let message = format!("{} bytes, more than the limit of {}", canonical.len(), limits::METADATA_BYTES_MAX);
            return Err(Rejection::new(RejectionCode::TooLong, "metadata", message));
        }
        Ok(Self(canonical.into()))
    }

    /// The canonical JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not through a raw value: inside a tagged enum serde hands over buffered content, which has no text any more.
        let problem = RefCell::new(None);
        let value = deserializer.deserialize_any(Strict { depth: 0, problem: &problem })?;
        Self::canonical(&value).map_err(de::Error::custom)
    }
}

/// Builds a `Value` and notes the code of the first problem, which serde's own errors cannot carry.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    problem: &'a RefCell<Option<RejectionCode>>,
}

impl Strict<'_> {
    fn refuse<E: de::Error>(self, code: RejectionCode, message: impl fmt::Display) -> E {
        self.problem.borrow_mut().get_or_insert(code);
        E::custom(message)
    }

    fn text<E: de::Error>(self, text: &str) -> Result<String, E> {
        if text.contains('\0') {
            return Err(self.refuse(RejectionCode::ControlCharacter, "NUL in a text"));
        }
        Ok(text.into())
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == limits::METADATA_DEPTH_MAX {
            let message = format!("nested deeper than {}", limits::METADATA_DEPTH_MAX);
            return Err(self.refuse(RejectionCode::TooDeep, message));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> de::DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        // A signed 64-bit integer is what every database keeps exactly.
        i64::try_from(value).map(Value::from).map_err(|_| self.refuse(RejectionCode::NumberRange, format!("{value} is above 2^63 - 1")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // serde_json reads integers beyond 64 bits as floats; such a value would come back as another number.
        if value.fract() == 0.0 && value.abs() >= 9_007_199_254_740_992.0 {
            return Err(self.refuse(RejectionCode::NumberRange, format!("{value} cannot be kept exactly")));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse(RejectionCode::NumberRange, "not a finite number"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        // Sorted here, because whether serde_json's map sorts is up to every crate of the build.
        let mut values = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let key = self.text(&key)?;
            let value = map.next_value_seed(inner)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(self.refuse(RejectionCode::DuplicateField, format!("the key {key:?} stands twice")));
            }
        }
        Ok(Value::Object(values.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> RejectionCode {
        Metadata::parse(json).unwrap_err().code
    }

    #[test]
    fn the_kept_form_is_canonical() {
        let metadata = Metadata::parse(r#" { "b": [1, -2, 0.5, null], "a": {"é": "x\ty"} } "#).unwrap();
        assert_eq!(metadata.as_json(), r#"{"a":{"é":"x\ty"},"b":[1,-2,0.5,null]}"#);
        assert_eq!(serde_json::from_str::<Metadata>(&serde_json::to_string(&metadata).unwrap()).unwrap(), metadata);
    }

    /// Found by fuzzing: read by the quick way, the first of these came back as 12.77777777777778, so that an event read from a store
    /// was not the one that was written.
    #[test]
    fn every_number_reads_back_as_the_same() {
        for number in ["12.777777777777779", "0.1", "5e-324", "-2.2250738585072014e-308", "123456789.12345679"] {
            let json = format!(r#"{{"a":{number}}}"#);
            let metadata = Metadata::parse(&json).unwrap();
            assert_eq!(Metadata::parse(metadata.as_json()).unwrap(), metadata);
            assert_eq!(metadata.as_json().parse::<Value>().unwrap()["a"].as_f64(), Some(number.parse().unwrap()), "{json}");
        }
    }

    #[test]
    fn what_databases_disagree_about_is_rejected() {
        assert_eq!(code(r#"{"a":1,"a":2}"#), RejectionCode::DuplicateField);
        assert_eq!(code(r#"{"a":{"b":1,"b":1}}"#), RejectionCode::DuplicateField);
        assert_eq!(code(r#"{"a":"x\u0000"}"#), RejectionCode::ControlCharacter);
        assert_eq!(code(r#"{"a\u0000":1}"#), RejectionCode::ControlCharacter);
        assert_eq!(code(r#"{"a":18446744073709551616}"#), RejectionCode::NumberRange);
        assert_eq!(code(r#"{"a":9223372036854775808}"#), RejectionCode::NumberRange);
        for json in ["[]", "1", "null", "", "{", r#"{"a":1e400}"#, r#"{"a":NaN}"#, r#"{"a":01}"#, "{} x", r#"{"a":"\ud800"}"#] {
            assert_eq!(code(json), RejectionCode::Malformed, "{json}");
        }
    }

    #[test]
    fn depth_and_size_limits_are_inclusive() {
        let nested = |depth: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Metadata::parse(&nested(limits::METADATA_DEPTH_MAX)).is_ok());
        assert_eq!(code(&nested(limits::METADATA_DEPTH_MAX + 1)), RejectionCode::TooDeep);
        let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(Metadata::parse(&sized(limits::METADATA_BYTES_MAX)).is_ok());
        assert_eq!(code(&sized(limits::METADATA_BYTES_MAX + 1)), RejectionCode::TooLong);
    }
}
