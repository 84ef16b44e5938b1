// Package nbd speaks the NBD protocol without cgo, as a server of disks and as a client of them: fixed newstyle
// handshake, TLS, structured replies, block status and the writable commands. The server also hands out copy-on-write
// overlays of disks that must not change.
//
// The protocol is described at https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
// Extended headers are not spoken: neither QEMU 7 nor libnbd 1.14 does.
package nbd
