package nbd

import (
	"errors"
	"fmt"
	"io"

	"understudy/internal/dr"
)

// A Device is a disk that a server hands out. Its methods may be called from many goroutines at once. ReadAt is only
// asked for bytes within Size, which must not change.
//
// A Device that knows its extents implements
//
//	Extents(off, n int64) []dr.Extent
//
// which returns extents that cover the range, sorted. One that can be written implements Writable.
type Device interface {
	io.ReaderAt
	Size() int64 // bytes
}

// Writable is a Device that can be written to. Its writes need no order among each other; Flush makes those durable
// that completed before it.
type Writable interface {
	Device
	io.WriterAt
	// Zero makes a range read as zeros, freeing its space where it can, without writing zeros out.
	Zero(off, n int64) error
	Flush() error
}

// extenter is what a Device with known extents implements.
type extenter interface {
	Extents(off, n int64) []dr.Extent
}

// fastZeroer is a Writable whose Zero is always faster than writing.
type fastZeroer interface {
	FastZero() bool
}

// An Export is a Device under a name.
type Export struct {
	Name        string
	Device      Device
	ReadOnly    bool   // refuse writes although the Device is Writable
	Description string // shown to clients that list the exports
}

// Validate checks the names and the size.
func (e Export) Validate() error {
	switch {
	case len(e.Name) > maxNameLen || len(e.Description) > maxNameLen:
		return fmt.Errorf("name or description of an export is longer than %d bytes", maxNameLen)
	case e.Device == nil:
		return errors.New("export without a device")
	case e.Device.Size() < 0:
		return fmt.Errorf("export of size %d", e.Device.Size())
	}
	return nil
}

// flags are the transmission flags of the export.
func (e Export) flags() uint16 {
	flags := uint16(flagHasFlags | flagSendFlush | flagSendFUA | flagSendDF | flagSendCache | flagCanMultiConn)
	if e.writable() == nil {
		return flags | flagReadOnly
	}
	flags |= flagSendTrim | flagSendWriteZeroes
	if f, ok := e.Device.(fastZeroer); ok && f.FastZero() {
		flags |= flagSendFastZero
	}
	return flags
}

// writable returns the device if it may be written to, or nil.
func (e Export) writable() Writable {
	if e.ReadOnly {
		return nil
	}
	w, _ := e.Device.(Writable)
	return w
}

// extents returns the extents of a range within the device, clipped to it; a device that does not know has data only.
func (e Export) extents(off, n int64) []dr.Extent {
	if x, ok := e.Device.(extenter); ok {
		return x.Extents(off, n)
	}
	return []dr.Extent{{Offset: off, Length: n}}
}

// readFull reads the range into p; a device may answer io.EOF at its end.
func (e Export) readFull(p []byte, off int64) error {
	n, err := e.Device.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
