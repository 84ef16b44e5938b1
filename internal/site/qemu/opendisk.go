package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

const (
	// staleGrace is how long the server of a disk may need to end after its controller did.
	staleGrace = 3 * time.Second
	// busyGrace is how long another controller's server is waited for.
	busyGrace = time.Second
)

// opened is a file beside a machine's state that says who has a disk open. A controller that dies leaves it, and the
// next one sees that the server has ended.
type opened struct {
	Disk       string `json:"disk"`
	Write      bool   `json:"write,omitempty"`
	PID        int    `json:"pid,omitempty"` // of the server; 0 when the controller itself has the file open
	Start      string `json:"start,omitempty"`
	Owner      int    `json:"owner"` // the controller
	OwnerStart string `json:"ownerStart"`
}

func (m *machine) openedDir() string { return filepath.Join(m.dir(), "open") }

// users selects who is in the way.
type users int

const (
	everyone users = iota // who reads or writes a disk
	writers
)

// unopened refuses while somebody has a disk of the stopped machine open, and ends what a dead controller left. The caller
// holds the machine's lock, without which no disk is opened.
func (m *machine) unopened(ctx context.Context, what string, who users) error {
	if err := m.sweepOpened(ctx, what, who); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range m.opened {
		if d.write || who == everyone {
			return openError(what, d.id())
		}
	}
	return nil
}

func openError(what string, id dr.DiskID) error {
	return dr.WithHint(fmt.Errorf("%s %s: disk %s is open", what, id.Machine, id.Disk), dr.KindConflict,
		"wait until the copy under way has ended, or cancel it: understudy run list")
}

// sweepOpened waits for servers whose controller is gone, ends those that do not end by themselves, and refuses while
// another controller lives that has a disk open.
func (m *machine) sweepOpened(ctx context.Context, what string, who users) error {
	entries, err := os.ReadDir(m.openedDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s %s: %w", what, m.name, err)
	}
	for _, e := range entries {
		path := filepath.Join(m.openedDir(), e.Name())
		if m.opener(path) {
			continue
		}
		var o opened
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &o)
		}
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && o.inUse(ctx) && (o.Write || who == everyone) {
			return openError(what, dr.DiskID{Machine: m.name, Disk: o.Disk})
		}
		// A file that was not written to its end belongs to a server that has no client, which ends at once.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s %s: %w", what, m.name, err)
		}
	}
	return nil
}

// opener reports whether the file is of a disk that this Driver has open.
func (m *machine) opener(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range m.opened {
		if d.record == path {
			return true
		}
	}
	return false
}

// inUse reports whether a living controller has the disk open. The server of a dead one has ended when it returns.
func (o opened) inUse(ctx context.Context) bool {
	orphan := !processAlive(o.Owner, o.OwnerStart)
	if o.PID == 0 {
		// A controller in this process that was closed let go of its files.
		return !orphan && o.Owner != os.Getpid()
	}
	grace := busyGrace
	if orphan {
		grace = staleGrace
	}
	deadline := time.Now().Add(grace)
	for processAlive(o.PID, o.Start) {
		if time.Now().After(deadline) {
			if !orphan {
				return true
			}
			_ = killGroup(o.PID)
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(exitPoll):
		}
	}
	return false
}

// OpenDisk opens a disk of a stopped machine by qemu-nbd, and a file that it boots from as it is. ctx bounds the opening
// only.
func (d *Driver) OpenDisk(ctx context.Context, name, disk string, write bool) (site.Disk, error) {
	o, err := d.openDisk(ctx, name, disk, write)
	if err != nil {
		return nil, err
	}
	return o, nil
}

func (d *Driver) openDisk(ctx context.Context, name, disk string, write bool) (*openDisk, error) {
	m, err := d.machine(name)
	if err != nil {
		return nil, err
	}
	unlock, err := m.lockNow(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := m.load(); err != nil { // a layer may have come or gone
		return nil, err
	}
	o := &openDisk{m: m, write: write}
	for _, k := range m.def().Disks {
		if k.Name == disk {
			o.disk = k
		}
	}
	what := "open disk " + disk + " of"
	switch {
	case o.disk.Name == "":
		return nil, dr.WithHint(fmt.Errorf("%s %s: the machine has no such disk", what, name), dr.KindNotFound, "see its disks: understudy machine list")
	case m.running():
		return nil, dr.WithHint(fmt.Errorf("%s %s: the machine runs", what, name), dr.KindConflict, "stop the machine first")
	}
	if err := m.sweepOpened(ctx, what, everyone); err != nil {
		return nil, err
	}
	m.mu.Lock()
	for other := range m.opened {
		if other.disk.Name == disk && (write || other.write) {
			err = openError(what, o.id())
		}
	}
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := o.open(ctx); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened == nil {
		m.opened = map[*openDisk]struct{}{}
	}
	m.opened[o] = struct{}{}
	return o, nil
}

// openDisk is a disk that this Driver has open: through a server or, for a file that QEMU itself reads, directly.
type openDisk struct {
	m      *machine
	disk   dr.Disk
	write  bool
	record string // its file in openedDir

	server *imageServer
	file   *os.File

	closing sync.Once
	closed  error
}

func (o *openDisk) id() dr.DiskID { return dr.DiskID{Machine: o.m.name, Disk: o.disk.Name} }

func (o *openDisk) open(ctx context.Context) (err error) {
	r := opened{Disk: o.disk.Name, Write: o.write, Owner: os.Getpid(), OwnerStart: processStart(os.Getpid())}
	if o.disk.Role != dr.RoleDisk {
		flag := os.O_RDONLY
		if o.write {
			flag = os.O_RDWR
		}
		o.file, err = os.OpenFile(o.disk.Path, flag, 0)
	} else if o.server, err = o.m.d.serveImage(ctx, o.disk, o.write); err == nil {
		r.PID, r.Start = o.server.cmd.Process.Pid, o.server.start
	}
	if err != nil {
		return err
	}
	o.record = filepath.Join(o.m.openedDir(), strconv.FormatInt(time.Now().UnixNano(), 36)+".json")
	if err := writeJSON(o.record, r); err != nil {
		_ = o.Close()
		return err
	}
	return nil
}

func (o *openDisk) Size() int64 { return o.disk.Size }

// fail says which disk an error is of.
func (o *openDisk) fail(what string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return dr.WithHint(fmt.Errorf("%s %s: %w", what, o.id(), err), dr.KindUnavailable, "see that the disk of its site has space, then resume the run")
}

func (o *openDisk) ReadAt(p []byte, off int64) (int, error) {
	if o.file != nil {
		n, err := o.file.ReadAt(p, off)
		return n, o.fail("read", err)
	}
	if off < 0 || off >= o.disk.Size {
		return 0, io.EOF
	}
	// The server's size is of whole sectors.
	end := min(off+int64(len(p)), o.disk.Size)
	n, err := o.server.client.ReadAt(p[:end-off], off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, o.fail("read", err)
}

// within refuses what lies outside the disk, which the file of a raw disk would take.
func (o *openDisk) within(off, n int64) error {
	switch {
	case !o.write:
		return errors.New("opened for reading")
	case off < 0 || n < 0 || off+n > o.disk.Size:
		return fmt.Errorf("%d bytes at %d: outside of %d bytes", n, off, o.disk.Size)
	}
	return nil
}

func (o *openDisk) WriteAt(p []byte, off int64) (n int, err error) {
	err = o.within(off, int64(len(p)))
	switch {
	case err != nil:
	case o.file != nil:
		n, err = o.file.WriteAt(p, off)
	default:
		n, err = o.server.client.WriteAt(p, off)
	}
	return n, o.fail("write", err)
}

func (o *openDisk) Zero(off, n int64) error {
	err := o.within(off, n)
	switch {
	case err != nil || n == 0:
	case o.file != nil:
		buf := make([]byte, min(n, 1<<20))
		for n > 0 && err == nil {
			part := buf[:min(n, int64(len(buf)))]
			_, err = o.file.WriteAt(part, off)
			off, n = off+int64(len(part)), n-int64(len(part))
		}
	default:
		err = o.server.client.Zero(off, n)
	}
	return o.fail("zero", err)
}

func (o *openDisk) Flush() error {
	if !o.write {
		return nil
	}
	if o.file != nil {
		return o.fail("flush", o.file.Sync())
	}
	return o.fail("flush", o.server.client.Flush())
}

func (o *openDisk) Extents(ctx context.Context, off, n int64) ([]dr.Extent, error) {
	if off < 0 || n < 0 || off+n > o.disk.Size {
		return nil, o.fail("extents of", fmt.Errorf("%d bytes at %d: outside of %d bytes", n, off, o.disk.Size))
	}
	if o.file != nil {
		return appendExtent(nil, dr.Extent{Offset: off, Length: n}), nil
	}
	out, err := o.server.client.Extents(ctx, off, n)
	return out, o.fail("extents of", err)
}

// Close returns when the machine can be started. What was not flushed may be lost when it fails.
func (o *openDisk) Close() error {
	o.closing.Do(func() {
		switch {
		case o.file != nil:
			o.closed = o.file.Close()
		default:
			o.closed = o.server.close()
		}
		if o.record != "" {
			_ = os.Remove(o.record) // its server has ended, which says the same
		}
		o.m.mu.Lock()
		delete(o.m.opened, o)
		o.m.mu.Unlock()
	})
	return o.fail("close", o.closed)
}

// dropOpened gives up the open disks as the death of the controller does.
func (m *machine) dropOpened() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for o := range m.opened {
		if o.server != nil {
			o.server.drop()
		} else {
			_ = o.file.Close()
		}
	}
	m.opened = nil
}

var _ site.DiskOpener = (*Driver)(nil)
