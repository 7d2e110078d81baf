#!/bin/bash
# Builds a private apt world in a directory: a signed repository with two suites (lab, lab-security), and a private dpkg and apt
# root in which version 1 of every package is installed while the repository offers version 2. The host's own apt is not touched.
#
# usage: apt-lab.sh DIR [FURTHER_PACKAGES]     then: export APT_CONFIG=DIR/apt.conf
#        apt-lab.sh DIR publish NAME VERSION [CONTROL_LINES]     offers one more version; files of its own may lie in
#          DIR/files/NAME-VERSION, maintainer scripts and the list of configuration files in DIR/scripts/NAME-VERSION
# needs: apt-utils dpkg gnupg; no root
set -euo pipefail
D=$(realpath -m "${1:?dir}"); N=${2:-0}
A=$(dpkg --print-architecture)
mkdir -p "$D"/{pool/main,pool/security,build,gnupg,root}; chmod 700 "$D/gnupg"

mkdeb() { # name version pool [extra control lines]
  local n=$1 v=$2 pool=$3 extra=${4:-} b="$D/build/$1"
  rm -rf "$b"; mkdir -p "$b/DEBIAN" "$b/opt/lab"
  echo "$n $v" > "$b/opt/lab/$n"
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: lab <lab@example.test>\nSection: misc\nPriority: optional\n%sDescription: lab package %s\n test payload\n' \
     "$n" "$v" "${extra:+$extra$'\n'}" "$n" > "$b/DEBIAN/control"
  if [ -d "$D/files/$n-$v" ]; then cp -r "$D/files/$n-$v/." "$b/"; fi
  if [ -d "$D/scripts/$n-$v" ]; then install -m 755 "$D/scripts/$n-$v"/* "$b/DEBIAN/"; fi
  dpkg-deb --root-owner-group -Znone -b "$b" "$D/pool/$pool/${n}_${v//:/%3a}_all.deb" >/dev/null
}
publish() { # suite pool label
  local s=$1 pool=$2 label=$3 p="$D/dists/$1/main/binary-$A"
  mkdir -p "$p"
  (cd "$D" && apt-ftparchive packages "pool/$pool") > "$p/Packages.new"
  # Phasing is a field of the repository, not of the package.
  awk -v RS= -v ORS='\n\n' '/^Package: lab-phased\n/ && /\nVersion: 2/ {sub(/\nDescription:/,"\nPhased-Update-Percentage: 0\nDescription:")} {print}' "$p/Packages.new" > "$p/Packages"
  rm "$p/Packages.new"; gzip -kf "$p/Packages"
  (cd "$D/dists/$s" && rm -f Release InRelease Release.gpg && apt-ftparchive -o APT::FTPArchive::Release::Origin=Lab -o APT::FTPArchive::Release::Label="$label" \
     -o APT::FTPArchive::Release::Suite="$s" -o APT::FTPArchive::Release::Codename="$s" \
     -o APT::FTPArchive::Release::Architectures="$A" -o APT::FTPArchive::Release::Components=main release . > "$D/Release.new" && mv "$D/Release.new" Release \
     && gpg --homedir "$D/gnupg" --batch --yes -u lab@example.test --clearsign -o InRelease Release)
}
if [ "$N" = publish ]; then
  mkdeb "${3:?name}" "${4:?version}" main "${5:-}"
  publish lab main Lab
  APT_CONFIG="$D/apt.conf" apt-get -qq update
  gpgconf --homedir "$D/gnupg" --kill gpg-agent
  exit
fi
# A throw-away signing key.
gpg --homedir "$D/gnupg" --batch --quiet --passphrase '' --quick-gen-key 'Lab <lab@example.test>' ed25519 sign never 2>/dev/null
gpg --homedir "$D/gnupg" --export > "$D/lab.gpg"

# Version 2 of lab-newdeps needs lab-newdep, which version 1 does not; version 2 of lab-kept needs what nobody offers.
for p in lab-app lab-lib lab-held lab-phased lab-newdeps lab-kept; do mkdeb $p 1.0-1 main; done
mkdeb lab-current 1.0-1 main
mkdir -p "$D/scripts/lab-broken-2.0-1"; printf '#!/bin/sh\necho "lab-broken: postinst fails on purpose" >&2\nexit 1\n' > "$D/scripts/lab-broken-2.0-1/postinst"
mkdeb lab-broken 1.0-1 main
for i in $(seq 1 "$N"); do mkdeb "lab-bulk$(printf %05d "$i")" 1.0-1 main; done
publish lab main Lab; publish lab-security security Lab-Security

# The private root, open to any user who wants to scan it.
R="$D/root"; mkdir -p "$R"/{etc/apt/{apt.conf.d,preferences.d,sources.list.d,trusted.gpg.d},var/lib/apt/lists/partial,var/cache/apt/archives/partial,var/lib/dpkg/{info,updates,triggers},var/log/apt}
: > "$R/var/lib/dpkg/status"; : > "$R/var/lib/dpkg/available"
printf 'deb [signed-by=%s] file:%s lab main\ndeb [signed-by=%s] file:%s lab-security main\n' "$D/lab.gpg" "$D" "$D/lab.gpg" "$D" > "$R/etc/apt/sources.list"
cat > "$D/apt.conf" <<C
Dir "$R";
Dir::State::status "$R/var/lib/dpkg/status";
Dir::Etc::trustedparts "$R/etc/apt/trusted.gpg.d";
Dir::Log "$R/var/log/apt";
APT::Architecture "$A";
APT::Sandbox::User "$(id -un)";
APT::Machine-ID "0123456789abcdef0123456789abcdef";
DPkg::Options { "--root=$R"; "--force-not-root"; "--force-script-chrootless"; "--log=$R/var/log/dpkg.log"; };
DPkg::Post-Invoke {}; DPkg::Pre-Install-Pkgs {}; APT::Update::Post-Invoke-Success {};
#clear DPkg::Post-Invoke; #clear APT::Update::Post-Invoke; #clear APT::Update::Post-Invoke-Success; #clear DPkg::Pre-Install-Pkgs;
C
export APT_CONFIG="$D/apt.conf"
apt-get -qq update
apt-get -y -qq install lab-app lab-lib lab-held lab-phased lab-newdeps lab-kept lab-current lab-broken $(for i in $(seq 1 "$N"); do printf 'lab-bulk%05d ' "$i"; done) >"$D/install-v1.log" 2>&1
apt-mark -qq hold lab-held >/dev/null
# Publish version 2.
mkdeb lab-app 2.0-1 main; mkdeb lab-lib 1:0.9~rc1+dfsg-1ubuntu0.1 security; mkdeb lab-held 2.0-1 main; mkdeb lab-phased 2.0-1 main
mkdeb lab-newdep 1.0-1 main; mkdeb lab-newdeps 2.0-1 main "Depends: lab-newdep"; mkdeb lab-kept 2.0-1 main "Depends: lab-nowhere"; mkdeb lab-broken 2.0-1 main
for i in $(seq 1 "$N"); do mkdeb "lab-bulk$(printf %05d "$i")" 1.0-2 main; done
publish lab main Lab; publish lab-security security Lab-Security
apt-get -qq update
gpgconf --homedir "$D/gnupg" --kill gpg-agent
echo "export APT_CONFIG=$D/apt.conf"
