package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
)

// Numbers of the protocol, named as in its specification:
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
const (
	magicInit       = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454F5054 // "IHAVEOPT"
	magicOptReply   = 0x3e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Handshake flags.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Transmission flags.
const (
	flagHasFlags        = 1 << 0
	flagReadOnly        = 1 << 1
	flagSendFlush       = 1 << 2
	flagSendFUA         = 1 << 3
	flagSendTrim        = 1 << 5
	flagSendWriteZeroes = 1 << 6
	flagSendDF          = 1 << 7
	flagCanMultiConn    = 1 << 8
	flagSendCache       = 1 << 10
	flagSendFastZero    = 1 << 11
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Option replies. Errors have the top bit set.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4
	repErrBit      = 1 << 31
	repErrUnsup    = repErrBit | 1
	repErrPolicy   = repErrBit | 2
	repErrInvalid  = repErrBit | 3
	repErrPlatform = repErrBit | 4
	repErrTLSReqd  = repErrBit | 5
	repErrUnknown  = repErrBit | 6
	repErrShutdown = repErrBit | 7
	repErrTooBig   = repErrBit | 9
)

// Kinds of information about an export.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Command flags.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4
)

// Structured reply chunks.
const (
	chunkFlagDone    = 1 << 0
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkBlockStatus = 5
	chunkErrBit      = 1 << 15
	chunkError       = chunkErrBit | 1
	chunkErrorOffset = chunkErrBit | 2
)

// Errors on the wire.
const (
	wireEPERM     = 1
	wireEIO       = 5
	wireENOMEM    = 12
	wireEINVAL    = 22
	wireENOSPC    = 28
	wireEOVERFLOW = 75
	wireENOTSUP   = 95
	wireESHUTDOWN = 108
)

const (
	maxNameLen = 4096     // longest export name or meta context, by the specification
	maxOptData = 64 << 10 // longest option or option reply that is read into memory
	maxPayload = 32 << 20 // longest read or write
	headerLen  = 28
)

// MetaAllocation is the meta context that tells data from holes; its flags are StateHole and StateZero.
const MetaAllocation = "base:allocation"

// MetaDirtyBitmap returns the meta context of a QEMU dirty bitmap; its flag is StateDirty.
func MetaDirtyBitmap(name string) string { return "qemu:dirty-bitmap:" + name }

// Flags of a Run.
const (
	StateHole  = 1 << 0 // base:allocation: not allocated
	StateZero  = 1 << 1 // base:allocation: reads as zeros
	StateDirty = 1 << 0 // qemu:dirty-bitmap: changed
)

// A Run is a range of a disk with one state in a meta context.
type Run struct {
	Length int64  // bytes
	Flags  uint32 // meaning depends on the meta context
}

// An Error is a request that the server refused or failed. It unwraps to its Errno.
type Error struct {
	Op     string // read, write, ...
	Offset int64
	Length int64
	Errno  syscall.Errno
	Msg    string // what the server said about it, may be empty
}

func (e *Error) Error() string {
	if e.Msg != "" {
		return fmt.Sprintf("nbd %s of %d bytes at %d: %s: %s", e.Op, e.Length, e.Offset, e.Errno, e.Msg)
	}
	return fmt.Sprintf("nbd %s of %d bytes at %d: %s", e.Op, e.Length, e.Offset, e.Errno)
}

// Unwrap returns the Errno.
func (e *Error) Unwrap() error { return e.Errno }

var wireErrnos = map[uint32]syscall.Errno{
	wireEPERM:     syscall.EPERM,
	wireEIO:       syscall.EIO,
	wireENOMEM:    syscall.ENOMEM,
	wireEINVAL:    syscall.EINVAL,
	wireENOSPC:    syscall.ENOSPC,
	wireEOVERFLOW: syscall.EOVERFLOW,
	wireENOTSUP:   syscall.ENOTSUP,
	wireESHUTDOWN: syscall.ESHUTDOWN,
}

// errnoOf translates an error on the wire. Unknown numbers mean EINVAL, says the specification.
func errnoOf(wire uint32) syscall.Errno {
	if e, ok := wireErrnos[wire]; ok {
		return e
	}
	return syscall.EINVAL
}

// wireOf translates an error of a device; what the protocol has no number for is EIO.
func wireOf(err error) uint32 {
	for wire, errno := range wireErrnos {
		if errors.Is(err, errno) {
			return wire
		}
	}
	return wireEIO
}

func cmdName(cmd uint16) string {
	switch cmd {
	case cmdRead:
		return "read"
	case cmdWrite:
		return "write"
	case cmdDisc:
		return "disconnect"
	case cmdFlush:
		return "flush"
	case cmdTrim:
		return "trim"
	case cmdCache:
		return "cache"
	case cmdWriteZeroes:
		return "zero"
	case cmdBlockStatus:
		return "block status"
	}
	return fmt.Sprintf("command %d", cmd)
}

var be = binary.BigEndian

// appendString appends a length of 32 bits and the string.
func appendString(b []byte, s string) []byte {
	return append(be.AppendUint32(b, uint32(len(s))), s...)
}

// cutString takes a string with its length off the front of b.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := be.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}

// requestHeader is one request as it is on the wire, without magic and payload.
type requestHeader struct {
	flags  uint16
	cmd    uint16
	cookie uint64
	off    uint64
	length uint32
}

func (h requestHeader) append(b []byte) []byte {
	b = be.AppendUint32(b, magicRequest)
	b = be.AppendUint16(b, h.flags)
	b = be.AppendUint16(b, h.cmd)
	b = be.AppendUint64(b, h.cookie)
	b = be.AppendUint64(b, h.off)
	return be.AppendUint32(b, h.length)
}

func readRequestHeader(r io.Reader, b *[headerLen]byte) (requestHeader, error) {
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return requestHeader{}, err
	}
	if m := be.Uint32(b[:]); m != magicRequest {
		return requestHeader{}, fmt.Errorf("request magic %#x", m)
	}
	return requestHeader{
		flags:  be.Uint16(b[4:]),
		cmd:    be.Uint16(b[6:]),
		cookie: be.Uint64(b[8:]),
		off:    be.Uint64(b[16:]),
		length: be.Uint32(b[24:]),
	}, nil
}
