package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/site"
)

// errStarted ends the reading of a stopped machine that somebody wants to start.
var errStarted = errors.New("the machine was started or changed during its capture")

// still captures a machine that does not run. It keeps the machine's lock until it ends, so that nothing else changes
// the images; whoever needs the lock at once gets it, and the capture fails.
type still struct {
	m      *machine
	req    site.CaptureRequest
	unlock func()

	def   dr.Machine
	disks []site.CapturedDisk
	now   record

	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  sync.WaitGroup // waits for the goroutine that gives the lock back
}

func (s *still) prepare(ctx context.Context) error {
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.m.forgetCapture(); err != nil { // QEMU ended during one
		return fmt.Errorf("machine %s: %w", s.m.name, err)
	}
	records := s.m.readRecords(s.req.Group)
	since := records[s.req.Since]
	if err := s.m.unopened(ctx, "capture", writers); err != nil {
		return err
	}
	s.def = s.m.def()
	s.def.Power = dr.PowerOff
	s.now = record{Disks: map[string]diskRecord{}}
	for _, disk := range s.def.Disks {
		id := dr.DiskID{Machine: s.m.name, Disk: disk.Name}
		old := since.Disks[disk.Name].Stamp
		if disk.Role != dr.RoleDisk {
			f, err := newBootFile(id, disk.Path, old, s.req.Since)
			if err != nil {
				return err
			}
			s.now.Disks[disk.Name] = diskRecord{Size: f.size, Stamp: f.stamp}
			s.disks = append(s.disks, f)
			continue
		}
		d := &stillDisk{s: s, index: len(s.disks), disk: disk, since: s.req.Since}
		img, err := readImage(disk.Path, disk.Format)
		if err != nil {
			return fmt.Errorf("machine %s: disk %s: %w", s.m.name, disk.Name, err)
		}
		d.disk.Size = img.Size
		if img.Backing == "" { // what lies below could change unseen
			stamp, err := fileStamp(disk.Path)
			if err != nil {
				return fmt.Errorf("machine %s: disk %s: %w", s.m.name, disk.Name, err)
			}
			s.now.Disks[disk.Name] = diskRecord{Size: img.Size, Stamp: stamp}
			d.unchanged = s.req.Since != "" && stamp == old
		}
		s.disks = append(s.disks, d)
	}
	records[s.req.ID] = s.now
	if err := s.m.writeRecords(s.req.Group, records); err != nil {
		return fmt.Errorf("machine %s: %w", s.m.name, err)
	}
	return nil
}

// open arranges that the lock is given back as soon as somebody else needs it.
func (s *still) open(context.Context) error {
	yield, asked := context.WithCancel(context.Background())
	s.m.setYield(asked)
	s.ended.Go(func() {
		select {
		case <-yield.Done():
			s.cancel(errStarted)
		case <-s.ctx.Done():
			asked()
		}
		s.m.setYield(nil)
		s.close()
		s.unlock()
	})
	return nil
}

func (s *still) clean() bool                 { return true }
func (s *still) build(context.Context) error { return nil }
func (s *still) stop(context.Context) error  { return nil }
func (s *still) mark(context.Context) error  { return nil }
func (s *still) cont(context.Context) error  { return nil }
func (s *still) paused() time.Duration       { return 0 }

func (s *still) machine() dr.Machine {
	def := cloneMachine(s.def)
	for i := range def.Disks {
		for _, v := range s.disks {
			if v.ID().Disk == def.Disks[i].Name {
				def.Disks[i].Size = v.Size()
			}
		}
	}
	return def
}

func (s *still) views() []site.CapturedDisk { return s.disks }

// commit needs nothing but the record that prepare wrote: bitmaps of earlier captures, which images may keep, are of
// another capture than the next one asks for, and removed when the machine runs.
func (s *still) commit(context.Context) error {
	s.release()
	if err := s.m.writeRecords(s.req.Group, map[string]record{s.req.ID: s.now}); err != nil {
		return fmt.Errorf("machine %s: %w", s.m.name, err)
	}
	return nil
}

func (s *still) abort(context.Context) error {
	s.release()
	records := s.m.readRecords(s.req.Group)
	if _, ok := records[s.req.ID]; !ok {
		return nil
	}
	delete(records, s.req.ID)
	if err := s.m.writeRecords(s.req.Group, records); err != nil {
		return fmt.Errorf("machine %s: %w", s.m.name, err)
	}
	return nil
}

func (s *still) release() {
	if s.cancel != nil {
		s.cancel(errors.New("the capture has ended"))
	}
	s.ended.Wait()
	s.close()
	s.unlock()
}

func (s *still) close() {
	for _, d := range s.disks {
		_ = d.(io.Closer).Close()
	}
}

// stillDisk is a disk of a stopped machine. Its image is opened when it is first read: one that did not change never is.
type stillDisk struct {
	s         *still
	index     int
	disk      dr.Disk
	since     string
	unchanged bool

	mu     sync.Mutex
	server *imageServer
}

func (d *stillDisk) ID() dr.DiskID { return dr.DiskID{Machine: d.s.m.name, Disk: d.disk.Name} }
func (d *stillDisk) Size() int64   { return d.disk.Size }

func (d *stillDisk) Changes(ctx context.Context) (site.Changes, error) {
	if d.unchanged {
		return site.Changes{}, nil
	}
	c, err := d.open()
	if err != nil {
		return site.Changes{}, err
	}
	extents, err := allocation(ctx, c, []dr.Extent{{Length: d.disk.Size}})
	if err != nil {
		return site.Changes{}, fmt.Errorf("changes of %s: %w", d.ID(), err)
	}
	reason := "the machine is stopped, and its disk changed"
	if d.since == "" {
		reason = "first capture"
	}
	return site.Changes{Extents: roundExtents(extents, d.disk.Size), Full: true, Reason: reason}, nil
}

func (d *stillDisk) ReadAt(p []byte, off int64) (int, error) {
	c, err := d.open()
	if err != nil {
		return 0, err
	}
	return readDisk(c, d.ID(), d.disk.Size, p, off, func() error { return context.Cause(d.s.ctx) })
}

// open serves the image, once.
func (d *stillDisk) open() (*nbd.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		return d.server.client, nil
	}
	if d.s.ctx.Err() != nil {
		return nil, fmt.Errorf("read %s: %w", d.ID(), context.Cause(d.s.ctx))
	}
	server, err := d.s.m.d.serveImage(d.s.ctx, d.disk, false)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.ID(), err)
	}
	d.server = server
	return server.client, nil
}

// Close ends the reading. It may be repeated.
func (d *stillDisk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server != nil {
		_ = d.server.close() // it only reads
		d.server = nil
	}
	return nil
}

// bootFile is a file that the hypervisor boots from, carried like a disk.
type bootFile struct {
	id     dr.DiskID
	f      *os.File
	size   int64
	stamp  string
	since  string
	before string // stamp at the capture named by since
}

func newBootFile(id dr.DiskID, path, before, since string) (*bootFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %s: %w", id.Machine, id.Disk, err)
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("machine %s: %s: %w", id.Machine, id.Disk, err)
	}
	return &bootFile{id: id, f: f, size: st.Size(), stamp: stamp(st, path), since: since, before: before}, nil
}

func (f *bootFile) ID() dr.DiskID { return f.id }
func (f *bootFile) Size() int64   { return f.size }

// Close ends the reading. It may be repeated.
func (f *bootFile) Close() error { return f.f.Close() }

func (f *bootFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

func (f *bootFile) Changes(context.Context) (site.Changes, error) {
	if f.since != "" && f.before == f.stamp {
		return site.Changes{}, nil
	}
	c := site.Changes{Full: true, Reason: "the file changed"}
	if f.since == "" {
		c.Reason = "first capture"
	}
	c.Extents = appendExtent(nil, dr.Extent{Length: f.size})
	return c, nil
}
