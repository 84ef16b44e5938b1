package main

import (
	"context"
	"io"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// remoteSite is a site of the world as the controller drives it.
type remoteSite struct {
	*bridge
	name string
}

var (
	_ site.Driver        = (*remoteSite)(nil)
	_ site.Commander     = (*remoteSite)(nil)
	_ site.Screenshoter  = (*remoteSite)(nil)
	_ site.ConsoleReader = (*remoteSite)(nil)
	_ site.DiskOpener    = (*remoteSite)(nil)
	_ site.Preserver     = (*remoteSite)(nil)
)

// Arguments and results of the calls.
type (
	captureOpen struct {
		Handle      uint64
		Time        time.Time
		Paused      time.Duration
		Consistency dr.Consistency
		Machines    []dr.Machine
		Disks       []captureDisk
	}
	captureDisk struct {
		ID   dr.DiskID
		Size int64
	}
	rangeArgs struct {
		Handle uint64
		Disk   int
		Off, N int64
		Data   []byte
	}
	dataResult struct {
		Data []byte
		EOF  bool
	}
	powerArgs struct {
		Machine string
		Action  site.PowerAction
	}
	probeArgs struct {
		Machine string
		Probe   dr.Probe
	}
	fenceArgs struct {
		Machine string
		Hold    bool
		Reason  string
	}
	commandArgs struct {
		Machine string
		Command site.Command
	}
	consoleArgs struct {
		Machine string
		Limit   int
	}
	openArgs struct {
		Machine, Disk string
		Write         bool
	}
	openResult struct {
		Handle uint64
		Size   int64
	}
	settleArgs struct {
		Machine string
		Accept  bool
	}
)

func (s *remoteSite) Machines(ctx context.Context) ([]dr.Machine, error) {
	return call[[]dr.Machine](ctx, s.bridge, s.name, "machines", nil)
}

func (s *remoteSite) Provision(ctx context.Context, req site.ProvisionRequest) error {
	_, err := call[none](ctx, s.bridge, s.name, "provision", req)
	return err
}

func (s *remoteSite) Power(ctx context.Context, machine string, action site.PowerAction) error {
	_, err := call[none](ctx, s.bridge, s.name, "power", powerArgs{machine, action})
	return err
}

func (s *remoteSite) Hydrate(ctx context.Context, machine string, progress func(done, total int64)) error {
	total, err := call[int64](ctx, s.bridge, s.name, "hydrate", machine)
	if err == nil && progress != nil {
		progress(total, total)
	}
	return err
}

func (s *remoteSite) Probe(ctx context.Context, machine string, probe dr.Probe) error {
	_, err := call[none](ctx, s.bridge, s.name, "probe", probeArgs{machine, probe})
	return err
}

func (s *remoteSite) Delete(ctx context.Context, machine string) error {
	_, err := call[none](ctx, s.bridge, s.name, "delete", machine)
	return err
}

func (s *remoteSite) Fence(ctx context.Context, machine string, hold bool, reason string) error {
	_, err := call[none](ctx, s.bridge, s.name, "fence", fenceArgs{machine, hold, reason})
	return err
}

func (s *remoteSite) Command(ctx context.Context, machine string, c site.Command) (site.CommandResult, error) {
	return call[site.CommandResult](ctx, s.bridge, s.name, "command", commandArgs{machine, c})
}

func (s *remoteSite) Screenshot(ctx context.Context, machine string) ([]byte, error) {
	return call[[]byte](ctx, s.bridge, s.name, "screenshot", machine)
}

func (s *remoteSite) Console(ctx context.Context, machine string, limit int) ([]byte, error) {
	return call[[]byte](ctx, s.bridge, s.name, "console", consoleArgs{machine, limit})
}

func (s *remoteSite) Preserve(ctx context.Context, machine string) error {
	_, err := call[none](ctx, s.bridge, s.name, "preserve", machine)
	return err
}

func (s *remoteSite) Settle(ctx context.Context, machine string, accept bool) error {
	_, err := call[none](ctx, s.bridge, s.name, "settle", settleArgs{machine, accept})
	return err
}

func (s *remoteSite) Capture(ctx context.Context, req site.CaptureRequest) (site.Capture, error) {
	open, err := call[captureOpen](ctx, s.bridge, s.name, "capture", req)
	if err != nil {
		return nil, err
	}
	return &remoteCapture{site: s, open: open}, nil
}

type remoteCapture struct {
	site *remoteSite
	open captureOpen
}

func (c *remoteCapture) Time() time.Time             { return c.open.Time }
func (c *remoteCapture) Paused() time.Duration       { return c.open.Paused }
func (c *remoteCapture) Consistency() dr.Consistency { return c.open.Consistency }
func (c *remoteCapture) Machines() []dr.Machine      { return c.open.Machines }

func (c *remoteCapture) Disks() []site.CapturedDisk {
	var list []site.CapturedDisk
	for i := range c.open.Disks {
		list = append(list, &remoteCapturedDisk{c, i})
	}
	return list
}

func (c *remoteCapture) Commit(ctx context.Context) error { return c.end(ctx, "capture commit") }
func (c *remoteCapture) Abort(ctx context.Context) error  { return c.end(ctx, "capture abort") }

func (c *remoteCapture) end(ctx context.Context, op string) error {
	_, err := call[none](ctx, c.site.bridge, c.site.name, op, c.open.Handle)
	return err
}

type remoteCapturedDisk struct {
	c *remoteCapture
	i int
}

func (d *remoteCapturedDisk) ID() dr.DiskID { return d.c.open.Disks[d.i].ID }
func (d *remoteCapturedDisk) Size() int64   { return d.c.open.Disks[d.i].Size }

func (d *remoteCapturedDisk) ReadAt(p []byte, off int64) (int, error) {
	return d.c.site.read("capture read", rangeArgs{Handle: d.c.open.Handle, Disk: d.i, Off: off, N: int64(len(p))}, p)
}

func (d *remoteCapturedDisk) Changes(ctx context.Context) (site.Changes, error) {
	return call[site.Changes](ctx, d.c.site.bridge, d.c.site.name, "capture changes", rangeArgs{Handle: d.c.open.Handle, Disk: d.i})
}

func (s *remoteSite) OpenDisk(ctx context.Context, machine, disk string, write bool) (site.Disk, error) {
	open, err := call[openResult](ctx, s.bridge, s.name, "open disk", openArgs{machine, disk, write})
	if err != nil {
		return nil, err
	}
	return &remoteDisk{s, open}, nil
}

// remoteDisk is an open disk. What its interface gives no context for is not cancelled.
type remoteDisk struct {
	site *remoteSite
	open openResult
}

func (d *remoteDisk) Size() int64 { return d.open.Size }

func (d *remoteDisk) ReadAt(p []byte, off int64) (int, error) {
	return d.site.read("disk read", rangeArgs{Handle: d.open.Handle, Off: off, N: int64(len(p))}, p)
}

func (d *remoteDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.do("disk write", rangeArgs{Handle: d.open.Handle, Off: off, Data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *remoteDisk) Zero(off, n int64) error {
	return d.do("disk zero", rangeArgs{Handle: d.open.Handle, Off: off, N: n})
}

func (d *remoteDisk) Flush() error { return d.do("disk flush", rangeArgs{Handle: d.open.Handle}) }
func (d *remoteDisk) Close() error { return d.do("disk close", rangeArgs{Handle: d.open.Handle}) }

func (d *remoteDisk) Extents(ctx context.Context, off, n int64) ([]dr.Extent, error) {
	return call[[]dr.Extent](ctx, d.site.bridge, d.site.name, "disk extents", rangeArgs{Handle: d.open.Handle, Off: off, N: n})
}

func (d *remoteDisk) do(op string, a rangeArgs) error {
	_, err := call[none](context.Background(), d.site.bridge, d.site.name, op, a)
	return err
}

// read fills p as an io.ReaderAt does.
func (s *remoteSite) read(op string, a rangeArgs, p []byte) (int, error) {
	r, err := call[dataResult](context.Background(), s.bridge, s.name, op, a)
	n := copy(p, r.Data)
	if err == nil && r.EOF {
		err = io.EOF
	}
	return n, err
}
