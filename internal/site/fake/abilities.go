package fake

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"maps"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Operations of the abilities in package site's optional.go.
const (
	OpCommand    Op = "command"
	OpScreenshot Op = "screenshot"
	OpConsole    Op = "console"
	OpPreserve   Op = "preserve"
	OpSettle     Op = "settle"
	OpOpenDisk   Op = "open disk"
	OpDiskRead   Op = "read disk"  // Disk.ReadAt
	OpDiskWrite  Op = "write disk" // Disk.WriteAt and Disk.Zero
	OpDiskFlush  Op = "flush disk"
)

// running returns a machine that runs. It needs the site's lock.
func (s *Site) running(what, name string) (*machine, error) {
	m, err := s.machine(name)
	if err == nil && m.def.Power != dr.PowerOn {
		err = dr.WithHint(fmt.Errorf("%s %s: the machine is %s", what, name, m.def.Power), dr.KindUnavailable, "start the machine")
	}
	return m, err
}

// stopped returns a machine that does not run. It needs the site's lock.
func (s *Site) stopped(what, name string) (*machine, error) {
	m, err := s.machine(name)
	if err == nil && m.def.Power != dr.PowerOff {
		err = dr.WithHint(fmt.Errorf("%s %s: the machine is %s", what, name, m.def.Power), dr.KindConflict, "stop the machine first")
	}
	return m, err
}

// Command implements site.Commander with Exec. Without one every program succeeds and says nothing.
func (s *Site) Command(ctx context.Context, name string, c site.Command) (site.CommandResult, error) {
	if err := s.begin(ctx, OpCommand); err != nil {
		return site.CommandResult{}, err
	}
	s.mu.Lock()
	_, err := s.running("command in", name)
	s.mu.Unlock()
	if err == nil && len(c.Argv) == 0 {
		err = dr.WithHint(fmt.Errorf("command in %s: no program", name), dr.KindInvalid, "name a program")
	}
	if err != nil || s.Exec == nil {
		return site.CommandResult{}, err
	}
	return s.Exec(ctx, name, c)
}

// Screenshot implements site.Screenshoter: a small black screen.
func (s *Site) Screenshot(ctx context.Context, name string) ([]byte, error) {
	if err := s.begin(ctx, OpScreenshot); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.running("screenshot of", name); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 64, 48)))
	return b.Bytes(), err
}

// WriteConsole adds to what a machine wrote to its console.
func (s *Site) WriteConsole(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.machines[name]; m != nil {
		m.console = append(m.console, text...)
	}
}

// Console implements site.ConsoleReader.
func (s *Site) Console(ctx context.Context, name string, limit int) ([]byte, error) {
	if err := s.begin(ctx, OpConsole); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.machine(name)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(m.console[max(0, len(m.console)-limit):]), nil
}

// Preserve implements site.Preserver.
func (s *Site) Preserve(ctx context.Context, name string) error {
	if err := s.begin(ctx, OpPreserve); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.stopped("preserve", name)
	if err != nil || m.kept != nil {
		return err
	}
	if err := m.unopened("preserve"); err != nil {
		return err
	}
	m.kept = map[string]view{}
	for disk, d := range m.disks {
		v := d.view
		v.blocks = maps.Clone(v.blocks)
		m.kept[disk] = v
		d.tracks = map[string]*track{} // what tracks changes does not see a layer
	}
	return nil
}

// Preserved reports whether a machine's former content is kept.
func (s *Site) Preserved(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[name]
	return m != nil && m.kept != nil
}

// Settle implements site.Preserver.
func (s *Site) Settle(ctx context.Context, name string, accept bool) error {
	if err := s.begin(ctx, OpSettle); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.machine(name)
	if err != nil || m.kept == nil {
		return err
	}
	if err := m.unopened("settle"); err != nil {
		return err
	}
	if !accept {
		if _, err := s.stopped("revert", name); err != nil {
			return err
		}
		for disk, v := range m.kept {
			d := newDisk(v.size)
			d.view = v
			m.disks[disk] = d
		}
	}
	m.kept = nil
	return nil
}

// unopened refuses while a disk of the machine is open.
func (m *machine) unopened(what string) error {
	for disk, d := range m.disks {
		if d.readers > 0 || d.writer {
			return dr.WithHint(fmt.Errorf("%s %s: disk %s is open", what, m.def.Name, disk), dr.KindConflict, "wait until the copy under way has ended")
		}
	}
	return nil
}

// OpenDisk implements site.DiskOpener.
func (s *Site) OpenDisk(ctx context.Context, name, disk string, write bool) (site.Disk, error) {
	if err := s.begin(ctx, OpOpenDisk); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.stopped("open disk of", name)
	if err != nil {
		return nil, err
	}
	d, err := s.disk(dr.DiskID{Machine: name, Disk: disk})
	if err != nil {
		return nil, err
	}
	if d.writer || write && d.readers > 0 {
		return nil, dr.WithHint(fmt.Errorf("open disk %s/%s: it is open already", name, disk), dr.KindConflict, "wait until the copy under way has ended")
	}
	if write {
		d.writer = true
	} else {
		d.readers++
	}
	return &openDisk{site: s, id: dr.DiskID{Machine: m.def.Name, Disk: disk}, disk: d, life: s.life, write: write}, nil
}

// openDisk is a disk that somebody holds open. All access is under the site's lock.
type openDisk struct {
	site   *Site
	id     dr.DiskID
	disk   *disk
	life   int // the site's when it was opened: Restart closes it
	write  bool
	closed bool
}

func (d *openDisk) Size() int64 {
	d.site.mu.Lock()
	defer d.site.mu.Unlock()
	return d.disk.size
}

// use runs f under the site's lock when the disk is open.
func (d *openDisk) use(op Op, write bool, f func() error) error {
	if err := d.site.begin(context.Background(), op); err != nil {
		return err
	}
	d.site.mu.Lock()
	defer d.site.mu.Unlock()
	switch {
	case d.closed || d.life != d.site.life:
		return fmt.Errorf("%s %s: the disk is closed", op, d.id)
	case write && !d.write:
		return fmt.Errorf("%s %s: opened for reading", op, d.id)
	}
	return f()
}

func (d *openDisk) ReadAt(p []byte, off int64) (n int, err error) {
	err = d.use(OpDiskRead, false, func() error { n, err = d.disk.view.ReadAt(p, off); return err })
	return n, err
}

func (d *openDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.use(OpDiskWrite, true, func() error { return d.disk.write(off, p) }); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *openDisk) Zero(off, n int64) error {
	return d.use(OpDiskWrite, true, func() error { return d.disk.zero(off, n) })
}

func (d *openDisk) Flush() error { return d.use(OpDiskFlush, false, func() error { return nil }) }

func (d *openDisk) Extents(ctx context.Context, off, n int64) (out []dr.Extent, err error) {
	err = d.use(OpDiskRead, false, func() error {
		if off < 0 || n < 0 || off+n > d.disk.size {
			return fmt.Errorf("extents of %s: %d bytes at %d: outside of %d bytes", d.id, n, off, d.disk.size)
		}
		all, err := (&diskCapture{view: d.disk.view}).extents(ctx)
		for _, e := range all {
			if lo, hi := max(e.Offset, off), min(e.End(), off+n); lo < hi {
				out = append(out, dr.Extent{Offset: lo, Length: hi - lo, Zero: e.Zero})
			}
		}
		return err
	})
	return out, err
}

func (d *openDisk) Close() error {
	d.site.mu.Lock()
	defer d.site.mu.Unlock()
	if d.closed || d.life != d.site.life {
		return nil
	}
	d.closed = true
	if d.write {
		d.disk.writer = false
	} else {
		d.disk.readers--
	}
	return nil
}

var (
	_ site.Commander     = (*Site)(nil)
	_ site.Screenshoter  = (*Site)(nil)
	_ site.ConsoleReader = (*Site)(nil)
	_ site.DiskOpener    = (*Site)(nil)
	_ site.Preserver     = (*Site)(nil)
)
