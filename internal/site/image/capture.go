package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/scratch"
	"understudy/internal/site"
)

// capture is a view of image files that are expected to lie still: Commit fails when one was touched meanwhile.
type capture struct {
	driver   *Driver
	req      site.CaptureRequest
	at       time.Time
	machines []dr.Machine
	disks    []*disk
}

type disk struct {
	id      dr.DiskID
	file    string
	beside  []string // other files that its content lies in
	size    int64
	before  stamp
	touched bool // the file may differ from the capture asked about
	reason  string
	src     source
}

// source reads the content of an image file.
type source interface {
	io.ReaderAt
	extents(ctx context.Context) ([]dr.Extent, error)
	Close() error
}

// Capture opens the files for reading.
func (d *Driver) Capture(ctx context.Context, req site.CaptureRequest) (site.Capture, error) {
	c := &capture{driver: d, req: req, at: d.cfg.Now()}
	known := d.loadStamps(req.Group, req.Since)
	names := slices.Clone(req.Machines)
	slices.Sort(names)
	for _, name := range names {
		m, beside, err := d.describe(ctx, name)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.machines = append(c.machines, m)
		for i, md := range m.Disks {
			dk, err := openDisk(ctx, dr.DiskID{Machine: name, Disk: md.Name}, md, beside[md.Path])
			if err != nil {
				return nil, errors.Join(fmt.Errorf("capture %s/%s: %w", name, md.Name, err), c.close())
			}
			m.Disks[i].Size = dk.size // of what is read: a server rounds some sizes
			c.disks = append(c.disks, dk)
			dk.touched, dk.reason = known.touched(dk.file, dk.before, req.Since)
		}
	}
	return c, nil
}

func openDisk(ctx context.Context, id dr.DiskID, md dr.Disk, beside []string) (*disk, error) {
	before, err := readStamp(md.Path, beside)
	if err != nil {
		return nil, err
	}
	dk := &disk{id: id, file: md.Path, beside: beside, size: md.Size, before: before}
	if md.Format == "raw" {
		f, err := os.Open(md.Path)
		if err != nil {
			return nil, err
		}
		dk.src = &rawSource{File: f, size: md.Size}
		return dk, nil
	}
	src, err := serve(ctx, md)
	if err != nil {
		return nil, err
	}
	dk.src, dk.size = src, src.Size()
	return dk, nil
}

func (c *capture) Time() time.Time             { return c.at }
func (c *capture) Paused() time.Duration       { return 0 }
func (c *capture) Consistency() dr.Consistency { return dr.CrashConsistent }
func (c *capture) Machines() []dr.Machine      { return c.machines }

func (c *capture) Disks() []site.CapturedDisk {
	disks := make([]site.CapturedDisk, len(c.disks))
	for i, d := range c.disks {
		disks[i] = d
	}
	slices.SortFunc(disks, func(a, b site.CapturedDisk) int { return a.ID().Compare(b.ID()) })
	return disks
}

// Verify fails when a file was touched since the capture began, so that what was read is no single instant.
func (c *capture) Verify() error {
	for _, d := range c.disks {
		now, err := readStamp(d.file, d.beside)
		if err != nil {
			return err
		}
		if now != d.before {
			return dr.WithHint(fmt.Errorf("capture %s: %s changed while it was read", d.id, strings.Join(append([]string{d.file}, d.beside...), " or ")), dr.KindConflict,
				"protect a running machine through a qemu site, or stop what writes to the file and try again")
		}
	}
	return nil
}

func (c *capture) Commit(context.Context) error {
	return errors.Join(c.driver.saveStamps(c, c.req.ID), c.close())
}

// Unchanged remembers that the files, as they are now, still hold what they held at Since.
func (c *capture) Unchanged() error { return c.driver.saveStamps(c, c.req.Since) }

func (c *capture) Abort(context.Context) error { return c.close() }

func (c *capture) close() error {
	var errs []error
	for _, d := range c.disks {
		errs = append(errs, d.src.Close())
	}
	return errors.Join(errs...)
}

func (d *disk) ID() dr.DiskID                           { return d.id }
func (d *disk) Size() int64                             { return d.size }
func (d *disk) ReadAt(p []byte, off int64) (int, error) { return d.src.ReadAt(p, off) }

func (d *disk) Changes(ctx context.Context) (site.Changes, error) {
	if !d.touched {
		return site.Changes{}, nil
	}
	extents, err := d.src.extents(ctx)
	if err != nil {
		return site.Changes{}, fmt.Errorf("map %s: %w", d.file, err)
	}
	return site.Changes{Extents: extents, Full: true, Reason: d.reason}, nil
}

// nbdSource reads an image through qemu-nbd, which knows all formats.
type nbdSource struct {
	*nbd.Client
	cmd   *exec.Cmd
	ended chan struct{} // closed when the server ended

	remove func() // the folder of its socket
}

// serve starts a read-only qemu-nbd on an image file and connects to it. It ends with its only client's connection,
// whatever becomes of this process: while it runs, it keeps the file from being written.
func serve(ctx context.Context, md dr.Disk) (*nbdSource, error) {
	dir, remove, err := scratch.Dir()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "nbd")
	var stderr bytes.Buffer
	cmd := exec.Command("qemu-nbd", "--read-only", "--socket="+socket, "--format="+md.Format, md.Path)
	cmd.Stderr = &stderr
	s := &nbdSource{cmd: cmd, remove: remove, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		remove()
		return nil, toolError("qemu-nbd", md.Path, err)
	}
	died := make(chan error, 1)
	go func() { died <- cmd.Wait() }()
	uri := "nbd+unix:///?socket=" + url.QueryEscape(socket)
	for {
		s.Client, err = nbd.Dial(ctx, uri, nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}})
		if err == nil {
			go func() {
				<-died
				close(s.ended)
			}()
			return s, nil
		}
		select {
		case werr := <-died:
			remove()
			if stderr.Len() > 0 {
				werr = errors.New(string(bytes.TrimSpace(stderr.Bytes())))
			}
			return nil, toolError("qemu-nbd", md.Path, werr)
		case <-ctx.Done():
			cmd.Process.Kill()
			<-died
			remove()
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *nbdSource) extents(ctx context.Context) ([]dr.Extent, error) {
	return s.Extents(ctx, 0, s.Size())
}

func (s *nbdSource) Close() error {
	err := s.Client.Close()
	if kerr := s.cmd.Process.Kill(); kerr != nil && !errors.Is(kerr, os.ErrProcessDone) {
		err = errors.Join(err, kerr)
	}
	s.remove()
	return err
}

func appendExtent(extents []dr.Extent, e dr.Extent) []dr.Extent {
	if n := len(extents); n > 0 && extents[n-1].Zero == e.Zero && extents[n-1].End() == e.Offset {
		extents[n-1].Length += e.Length
		return extents
	}
	return append(extents, e)
}
