//! Disks that are full or read-only: told as such, nothing partial, healed without anybody's help when there is room again.
