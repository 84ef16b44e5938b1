package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/vault/blob"
)

// An endpoint is the world's end of the bridge to one controller process.
type endpoint struct {
	w    *world
	proc *process

	mu       sync.Mutex
	calls    map[uint64]context.CancelFunc
	handles  map[uint64]*handle
	last     uint64
	over     bool
	inFlight sync.WaitGroup
}

// A handle is something that the controller holds open at a site.
type handle struct {
	what  string
	since time.Time
	cap   site.Capture
	disk  site.Disk
	to    string
	of    string // group of a capture, machine of an open disk
}

// Do makes a call. A controller that dies of it gets no answer.
func (e *endpoint) Do(c Call, a *Answer) error {
	e.mu.Lock()
	if e.over {
		e.mu.Unlock()
		return errors.New("the controller is dead")
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.calls[c.ID] = cancel
	e.inFlight.Add(1)
	e.mu.Unlock()
	defer func() {
		cancel()
		e.mu.Lock()
		delete(e.calls, c.ID)
		e.mu.Unlock()
		e.inFlight.Done()
	}()
	effect, fault := e.w.faults.next(c.To, c.Op)
	switch effect {
	case Fail:
		if !e.closes(c, fault) {
			a.Err = toFailure(fault)
			return nil
		}
		effect = Lose
	case KillBefore:
		e.proc.kill()
		return fault
	case Slow:
		sleep(ctx, slowFor)
	}
	result, err := e.do(ctx, c)
	switch effect {
	case KillAfter:
		e.proc.kill()
		return fault
	case StopAfter:
		e.proc.stopFor(stopFor)
	case Lose:
		if err == nil {
			e.leaveNothing(result)
		}
		result, err = nil, errors.Join(err, fault)
	}
	a.Err = toFailure(err)
	if result != nil {
		a.Result, err = json.Marshal(result)
	} else {
		err = nil
	}
	return err
}

// leaveNothing closes what a call opened whose answer is lost: with an error nothing is left behind.
func (e *endpoint) leaveNothing(result any) {
	switch r := result.(type) {
	case captureOpen:
		if h, err := e.handle(r.Handle); err == nil {
			_ = h.cap.Abort(context.Background())
			e.drop(r.Handle)
		}
	case openResult:
		if h, err := e.handle(r.Handle); err == nil {
			_ = h.disk.Close()
			e.drop(r.Handle)
		}
	}
}

// closes reports whether a call lets go of something: that is over even when the call fails. A capture whose end fails is
// settled by the next one.
func (e *endpoint) closes(c Call, fault error) bool {
	switch c.Op {
	case "disk close":
		return true
	case "capture commit":
		e.w.sites[c.To].FailNext(fake.OpCommit, fault)
		return true
	case "capture abort":
		e.w.sites[c.To].FailNext(fake.OpAbort, fault)
		return true
	}
	return false
}

// Cancel ends the context of a call.
func (e *endpoint) Cancel(id uint64, _ *struct{}) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if cancel := e.calls[id]; cancel != nil {
		cancel()
	}
	return nil
}

// end waits for the calls under way and lets go of what the dead controller held, as sites do.
func (e *endpoint) end() {
	e.mu.Lock()
	e.over = true
	for _, cancel := range e.calls {
		cancel()
	}
	e.mu.Unlock()
	e.inFlight.Wait()
	for _, p := range e.w.sites {
		p.Restart()
	}
}

// held lists what the controller has held open for longer than a time, and captures that it forgot: another one of the
// same group is open.
func (e *endpoint) held(longer time.Duration) (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	newest := map[string]time.Time{} // by group
	for _, h := range e.handles {
		if h.cap != nil && h.since.After(newest[h.of]) {
			newest[h.of] = h.since
		}
	}
	for _, h := range e.handles {
		forgotten := h.cap != nil && h.since.Before(newest[h.of])
		if age := time.Since(h.since); age > longer || forgotten {
			list = append(list, fmt.Sprintf("%s at %s, for %.0f s", h.what, h.to, age.Seconds()))
		}
	}
	return list
}

func (e *endpoint) hold(h *handle) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	h.since = time.Now()
	e.handles[e.last] = h
	return e.last
}

func (e *endpoint) handle(id uint64) (*handle, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.handles[id]; h != nil {
		return h, nil
	}
	return nil, errors.New("it was closed")
}

func (e *endpoint) drop(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.handles, id)
}

// with decodes a call's arguments.
func with[A any](c Call, do func(A) (any, error)) (any, error) {
	var a A
	if err := json.Unmarshal(c.Args, &a); err != nil {
		return nil, fmt.Errorf("%s %s: read arguments: %w", c.Op, c.To, err)
	}
	return do(a)
}

func (e *endpoint) do(ctx context.Context, c Call) (any, error) {
	if c.To == storeName {
		return with(c, func(a objectArgs) (any, error) { return e.store(ctx, c.Op, a) })
	}
	p := e.w.sites[c.To]
	if p == nil {
		return nil, dr.WithHint(fmt.Errorf("no site %s", c.To), dr.KindNotFound, "")
	}
	switch c.Op {
	case "machines":
		return p.Machines(ctx)
	case "provision":
		return with(c, func(a site.ProvisionRequest) (any, error) { return nil, e.w.provision(ctx, p, a) })
	case "power":
		return with(c, func(a powerArgs) (any, error) { return nil, e.w.power(ctx, p, a.Machine, a.Action) })
	case "hydrate":
		return with(c, func(a string) (any, error) {
			var all int64
			err := p.Hydrate(ctx, a, func(_, total int64) { all = total })
			return all, err
		})
	case "probe":
		return with(c, func(a probeArgs) (any, error) { return nil, p.Probe(ctx, a.Machine, a.Probe) })
	case "delete":
		return with(c, func(a string) (any, error) { return nil, e.w.remove(ctx, p, a) })
	case "fence":
		return with(c, func(a fenceArgs) (any, error) { return nil, e.w.fence(ctx, p, a) })
	case "command":
		return with(c, func(a commandArgs) (any, error) { return p.Command(ctx, a.Machine, a.Command) })
	case "screenshot":
		return with(c, func(a string) (any, error) { return p.Screenshot(ctx, a) })
	case "console":
		return with(c, func(a consoleArgs) (any, error) { return p.Console(ctx, a.Machine, a.Limit) })
	case "preserve":
		return with(c, func(a string) (any, error) { return nil, p.Preserve(ctx, a) })
	case "settle":
		return with(c, func(a settleArgs) (any, error) { return nil, e.w.settle(ctx, p, a) })
	case "capture":
		return with(c, func(a site.CaptureRequest) (any, error) { return e.capture(ctx, p, a) })
	case "capture commit", "capture abort":
		return with(c, func(id uint64) (any, error) { return nil, e.endCapture(ctx, c.Op, id) })
	case "capture read", "capture changes":
		return with(c, func(a rangeArgs) (any, error) { return e.captured(ctx, c.Op, a) })
	case "open disk":
		return with(c, func(a openArgs) (any, error) { return e.openDisk(ctx, p, a) })
	}
	return with(c, func(a rangeArgs) (any, error) { return e.disk(ctx, p, c.Op, a) })
}

func (e *endpoint) capture(ctx context.Context, p *place, req site.CaptureRequest) (any, error) {
	c, err := e.w.capture(ctx, p, req)
	if err != nil {
		return nil, err
	}
	open := captureOpen{Time: c.Time(), Paused: c.Paused(), Consistency: c.Consistency(), Machines: c.Machines()}
	for _, d := range c.Disks() {
		open.Disks = append(open.Disks, captureDisk{d.ID(), d.Size()})
	}
	open.Handle = e.hold(&handle{what: "capture " + req.ID + " of " + req.Group, cap: c, to: p.name, of: req.Group})
	return open, nil
}

// endCapture ends a capture. One whose end fails is over as well: the next one settles it.
func (e *endpoint) endCapture(ctx context.Context, op string, id uint64) error {
	h, err := e.handle(id)
	if err != nil {
		return err
	}
	e.drop(id)
	if op == "capture commit" {
		return h.cap.Commit(ctx)
	}
	return h.cap.Abort(ctx)
}

func (e *endpoint) captured(ctx context.Context, op string, a rangeArgs) (any, error) {
	h, err := e.handle(a.Handle)
	if err != nil {
		return nil, err
	}
	d := h.cap.Disks()[a.Disk]
	if op == "capture changes" {
		return d.Changes(ctx)
	}
	return readRange(d, a)
}

func readRange(r io.ReaderAt, a rangeArgs) (any, error) {
	p := make([]byte, a.N)
	n, err := r.ReadAt(p, a.Off)
	if err == io.EOF {
		return dataResult{p[:n], true}, nil
	}
	return dataResult{Data: p[:n]}, err
}

func (e *endpoint) openDisk(ctx context.Context, p *place, a openArgs) (any, error) {
	d, err := p.OpenDisk(ctx, a.Machine, a.Disk, a.Write)
	if err != nil {
		return nil, err
	}
	if a.Write {
		e.w.rewritten(p.name, a.Machine)
	}
	h := &handle{what: "disk " + a.Machine + "/" + a.Disk, disk: d, to: p.name, of: a.Machine}
	return openResult{e.hold(h), d.Size()}, nil
}

func (e *endpoint) disk(ctx context.Context, p *place, op string, a rangeArgs) (any, error) {
	h, err := e.handle(a.Handle)
	if err != nil || h.disk == nil {
		return nil, errors.Join(err, fmt.Errorf("%s: no such call", op))
	}
	switch op {
	case "disk read":
		return readRange(h.disk, a)
	case "disk write":
		_, err := h.disk.WriteAt(a.Data, a.Off)
		return nil, err
	case "disk zero":
		return nil, h.disk.Zero(a.Off, a.N)
	case "disk flush":
		return nil, h.disk.Flush()
	case "disk extents":
		return h.disk.Extents(ctx, a.Off, a.N)
	case "disk close":
		e.drop(a.Handle)
		return nil, h.disk.Close()
	}
	return nil, fmt.Errorf("site %s has no %q", p.name, op)
}

func (e *endpoint) store(ctx context.Context, op string, a objectArgs) (any, error) {
	s := e.w.store
	switch op {
	case "create":
		return s.Create(ctx, a.Name, bytes.NewReader(a.Data))
	case "read":
		p := make([]byte, a.N)
		err := s.ReadAt(ctx, a.Name, p, a.Off)
		return p, err
	case "stat":
		return s.Stat(ctx, a.Name)
	case "list":
		list := []blob.Info{}
		err := s.List(ctx, a.Name, func(i blob.Info) error { list = append(list, i); return nil })
		return list, err
	case "delete":
		return nil, s.Delete(ctx, a.Name)
	case "get":
		data, tag, err := s.GetTagged(ctx, a.Name)
		return tagged{data, tag}, err
	case "put":
		return s.PutTagged(ctx, a.Name, a.Data, a.Tag)
	}
	return nil, fmt.Errorf("the store has no %q", op)
}
