// Package sitetest is the conformance suite of site drivers: what every site must do for the engines to be right.
package sitetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// Harness is one site under test.
type Harness struct {
	Driver site.Driver
	// Machine names a machine that runs, with at least one disk of 1 MiB or more.
	Machine string
	// Write writes to a disk as the guest does, while the machine runs. Nil when the site cannot be written to, which
	// leaves out the tests that need it.
	Write func(t testing.TB, id dr.DiskID, off int64, p []byte)
	// Source serves content as the source of a disk for Provision and returns its URI, or is nil.
	Source func(t testing.TB, content []byte) string
	// Restart stands for the death of the controller without any goodbye and the start of the next one: it returns
	// another driver on the same site. Nil leaves out the tests that need it.
	Restart func(t testing.TB) site.Driver
	// Capture and Provision say what the site supports.
	Capture, Provision bool
	// Console is a text that the running machine has on its console, or empty.
	Console string
	// Programs says that the machine runs a POSIX shell for Command.
	Programs bool
	// NoScreen says that the site shows no machine's screen.
	NoScreen bool
}

// Run tests a site. open makes a new one for each test; what it opens it closes with t.Cleanup. Tests whose names begin with
// one of without are left out: the site cannot do that at all, which its own tests say.
func Run(t *testing.T, open func(t *testing.T) *Harness, without ...string) {
	tests := []struct {
		name string
		run  func(*suite)
	}{
		{"Machines", (*suite).machines},
		{"PowerIdempotent", (*suite).power},
		{"UnknownMachine", (*suite).unknown},
		{"Fence", (*suite).fence},
		{"CaptureInstant", (*suite).captureInstant},
		{"CaptureSince", (*suite).captureSince},
		{"CaptureFreeze", (*suite).captureFreeze},
		{"CaptureAbort", (*suite).captureAbort},
		{"CaptureForeignSince", (*suite).captureForeignSince},
		{"CaptureAfterRestart", (*suite).captureAfterRestart},
		{"CaptureUnknownMachine", (*suite).captureUnknown},
		{"ProvisionDelete", (*suite).provisionDelete},
		{"ProvisionConflict", (*suite).provisionConflict},
		{"Hydrate", (*suite).hydrate},
		{"Command", (*suite).command},
		{"Screenshot", (*suite).screenshot},
		{"Console", (*suite).console},
		{"OpenDisk", (*suite).openDisk},
		{"OpenDiskAlone", (*suite).openDiskAlone},
		{"OpenDiskAfterRestart", (*suite).openDiskAfterRestart},
		{"ProvisionFormats", (*suite).provisionFormats},
		{"PreserveAccept", (*suite).preserveAccept},
		{"PreserveRevert", (*suite).preserveRevert},
		{"PreserveRunning", (*suite).preserveRunning},
		{"Forget", (*suite).forget},
	}
	for _, tt := range tests {
		if slices.ContainsFunc(without, func(prefix string) bool { return strings.HasPrefix(tt.name, prefix) }) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			h := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			tt.run(&suite{T: t, ctx: ctx, Harness: h})
		})
	}
}

type suite struct {
	*testing.T
	*Harness
	ctx context.Context
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%v (hint: %s)", err, dr.Hint(err))
	}
}

func (s *suite) wantKind(err error, kind dr.Kind) {
	s.Helper()
	if err == nil {
		s.Fatalf("no error, want one of kind %s", kind)
	}
	if got := dr.KindOf(err); got != kind {
		s.Fatalf("error of kind %s, want %s: %v", got, kind, err)
	}
	if dr.Hint(err) == "" {
		s.Errorf("error without a hint: %v", err)
	}
}

func (s *suite) find(name string) (dr.Machine, bool) {
	s.Helper()
	list, err := s.Driver.Machines(s.ctx)
	s.must(err)
	if !slices.IsSortedFunc(list, func(a, b dr.Machine) int { return strings.Compare(a.Name, b.Name) }) {
		s.Error("machines are not ordered by name")
	}
	i := slices.IndexFunc(list, func(m dr.Machine) bool { return m.Name == name })
	if i < 0 {
		return dr.Machine{}, false
	}
	return list[i], true
}

func (s *suite) wantPower(name string, want dr.Power) {
	s.Helper()
	m, ok := s.find(name)
	if !ok {
		s.Fatalf("machine %s is not listed", name)
	}
	if m.Power != want {
		s.Fatalf("machine %s is %s, want %s", name, m.Power, want)
	}
}

func (s *suite) machines() {
	m, ok := s.find(s.Machine)
	if !ok {
		s.Fatalf("machine %s is not listed", s.Machine)
	}
	if m.Power != dr.PowerOn {
		s.Errorf("power %q, want on", m.Power)
	}
	if m.Provider == "" {
		s.Error("no provider")
	}
	if len(m.Disks) == 0 || m.Disks[0].Size == 0 {
		s.Errorf("disks %+v: want at least one with a size", m.Disks)
	}
}

func (s *suite) power() {
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerStart))
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerKill))
	s.wantPower(s.Machine, dr.PowerOff)
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerKill))
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerShutdown))
	if err := s.Driver.Probe(s.ctx, s.Machine, dr.Probe{}); err == nil {
		s.Error("a machine that is off satisfies the zero probe")
	}
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerStart))
	s.wantPower(s.Machine, dr.PowerOn)
	s.must(s.Driver.Probe(s.ctx, s.Machine, dr.Probe{}))
	s.wantKind(s.Driver.Power(s.ctx, s.Machine, "explode"), dr.KindInvalid)
}

func (s *suite) unknown() {
	s.wantKind(s.Driver.Power(s.ctx, "no-such-machine", site.PowerStart), dr.KindNotFound)
	s.wantKind(s.Driver.Probe(s.ctx, "no-such-machine", dr.Probe{}), dr.KindNotFound)
	s.wantKind(s.Driver.Hydrate(s.ctx, "no-such-machine", nil), dr.KindNotFound)
	s.wantKind(s.Driver.Fence(s.ctx, "no-such-machine", true, "test"), dr.KindNotFound)
	s.must(s.Driver.Delete(s.ctx, "no-such-machine"))
	s.wantKind(s.Driver.Delete(s.ctx, s.Machine), dr.KindConflict)
	s.wantPower(s.Machine, dr.PowerOn)
}

func (s *suite) fence() {
	const reason = "group shop failed over to west"
	s.must(s.Driver.Fence(s.ctx, s.Machine, true, reason))
	s.wantPower(s.Machine, dr.PowerOff)
	s.must(s.Driver.Fence(s.ctx, s.Machine, true, reason))
	err := s.Driver.Power(s.ctx, s.Machine, site.PowerStart)
	s.wantKind(err, dr.KindFenced)
	if !strings.Contains(err.Error(), reason) {
		s.Errorf("error does not say why the machine is held: %v", err)
	}
	if s.Restart != nil {
		s.Driver = s.Restart(s)
		s.wantKind(s.Driver.Power(s.ctx, s.Machine, site.PowerStart), dr.KindFenced)
	}
	s.must(s.Driver.Fence(s.ctx, s.Machine, false, ""))
	s.must(s.Driver.Fence(s.ctx, s.Machine, false, ""))
	s.must(s.Driver.Power(s.ctx, s.Machine, site.PowerStart))
	s.wantPower(s.Machine, dr.PowerOn)
}

// diskID is the first guest disk of the machine.
func (s *suite) diskID() dr.DiskID {
	s.Helper()
	m, _ := s.find(s.Machine)
	for _, d := range m.Disks {
		if d.Role == dr.RoleDisk {
			return dr.DiskID{Machine: s.Machine, Disk: d.Name}
		}
	}
	s.Fatalf("machine %s has no disk", s.Machine)
	return dr.DiskID{}
}

func (s *suite) needCapture() dr.DiskID {
	s.Helper()
	if !s.Capture || s.Write == nil {
		s.Skip("the site under test captures no writable machine")
	}
	return s.diskID()
}

func (s *suite) capture(id, since string) site.Capture {
	s.Helper()
	c, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "conformance", Machines: []string{s.Machine}, ID: id, Since: since})
	s.must(err)
	return c
}

func (s *suite) captured(c site.Capture, id dr.DiskID) site.CapturedDisk {
	s.Helper()
	disks := c.Disks()
	if !slices.IsSortedFunc(disks, func(a, b site.CapturedDisk) int { return a.ID().Compare(b.ID()) }) {
		s.Error("disks are not ordered")
	}
	for _, d := range disks {
		if d.ID() == id {
			return d
		}
	}
	s.Fatalf("disk %s is not in the capture", id)
	return nil
}

func (s *suite) read(r io.ReaderAt, off int64, n int) []byte {
	s.Helper()
	p := make([]byte, n)
	if m, err := r.ReadAt(p, off); m < n {
		s.Fatalf("read %d bytes at %d: %d, %v", n, off, m, err)
	}
	return p
}

func (s *suite) changes(d site.CapturedDisk) site.Changes {
	s.Helper()
	ch, err := d.Changes(s.ctx)
	s.must(err)
	var end int64
	for _, e := range ch.Extents {
		if e.Offset < end || e.Length <= 0 || e.End() > d.Size() {
			s.Fatalf("extents are not sorted, apart and within %d bytes: %v", d.Size(), ch.Extents)
		}
		end = e.End()
	}
	if ch.Full && ch.Reason == "" {
		s.Error("full changes without a reason")
	}
	return ch
}

// covers reports whether off lies in an extent that is to be read.
func covers(ch site.Changes, off int64) bool {
	for _, e := range ch.Extents {
		if off >= e.Offset && off < e.End() && !e.Zero {
			return true
		}
	}
	return false
}

func block(b byte) []byte { return bytes.Repeat([]byte{b}, dr.BlockSize) }

const far = 512 << 10 // farther away than any tracking granularity

func (s *suite) captureInstant() {
	id := s.needCapture()
	s.Write(s, id, 0, block(1))
	c := s.capture("one", "")
	s.Write(s, id, 0, block(2))
	s.Write(s, id, far, block(2))
	d := s.captured(c, id)
	ch := s.changes(d)
	if !ch.Full || !covers(ch, 0) {
		s.Errorf("changes of a first capture: %+v", ch)
	}
	if got := s.read(d, 0, dr.BlockSize); !bytes.Equal(got, block(1)) {
		s.Errorf("the capture shows a write made after it: %x", got[0])
	}
	if got := s.read(d, far, dr.BlockSize); !bytes.Equal(got, block(0)) {
		s.Errorf("the capture shows a write made after it: %x", got[0])
	}
	if len(c.Machines()) != 1 || c.Machines()[0].Name != s.Machine {
		s.Errorf("machines %+v", c.Machines())
	}
	s.must(c.Commit(s.ctx))
}

func (s *suite) captureSince() {
	id := s.needCapture()
	c := s.capture("one", "")
	s.Write(s, id, far, block(3)) // after the instant, before the commit
	s.must(c.Commit(s.ctx))
	c = s.capture("two", "one")
	d := s.captured(c, id)
	ch := s.changes(d)
	if ch.Full || !covers(ch, far) || covers(ch, 0) {
		s.Errorf("changes %+v, want those at %d only", ch, far)
	}
	if got := s.read(d, far, dr.BlockSize); !bytes.Equal(got, block(3)) {
		s.Errorf("read %x", got[0])
	}
	s.must(c.Commit(s.ctx))
	c = s.capture("three", "two")
	if ch := s.changes(s.captured(c, id)); ch.Full || len(ch.Extents) != 0 {
		s.Errorf("changes without a write: %+v", ch)
	}
	s.must(c.Commit(s.ctx))
}

// captureFreeze asks for consistency, which a site may not be able to give: then there is a capture all the same, and
// it says why it promises no more.
func (s *suite) captureFreeze() {
	id := s.needCapture()
	s.Write(s, id, 0, block(1))
	c, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "g", Machines: []string{s.Machine}, ID: "one", Freeze: true, FreezeTimeout: 2 * time.Second,
		Hooks: map[string]dr.Hooks{s.Machine: {Before: []string{"/bin/true"}}}})
	s.must(err)
	var short error
	if v, ok := c.(site.Shortfaller); ok {
		short = v.Shortfall()
	}
	if (c.Consistency() != dr.ApplicationConsistent) != (short != nil) {
		s.Errorf("%s consistent, and the shortfall is: %v", c.Consistency(), short)
	}
	if got := s.read(s.captured(c, id), 0, dr.BlockSize); !bytes.Equal(got, block(1)) {
		s.Errorf("read %x", got[0])
	}
	s.must(c.Commit(s.ctx))
	s.wantPower(s.Machine, dr.PowerOn)
}

func (s *suite) captureAbort() {
	id := s.needCapture()
	s.must(s.capture("one", "").Commit(s.ctx))
	s.Write(s, id, 0, block(4))
	c := s.capture("two", "one")
	s.Write(s, id, far, block(5))
	s.must(c.Abort(s.ctx))
	c = s.capture("three", "one")
	ch := s.changes(s.captured(c, id))
	if !covers(ch, 0) || !covers(ch, far) {
		s.Errorf("changes after an abort: %+v, want those before and after it", ch)
	}
	if ch.Full {
		s.Errorf("an abort lost the tracking: %s", ch.Reason)
	}
	s.must(c.Commit(s.ctx))
}

func (s *suite) captureForeignSince() {
	id := s.needCapture()
	s.must(s.capture("one", "").Commit(s.ctx))
	c := s.capture("two", "some-other")
	if ch := s.changes(s.captured(c, id)); !ch.Full {
		s.Errorf("changes since a capture that this site does not know: %+v", ch)
	}
	s.must(c.Abort(s.ctx))
}

// captureAfterRestart: the controller dies with a capture open, whose ID the vault may or may not hold.
func (s *suite) captureAfterRestart() {
	id := s.needCapture()
	if s.Restart == nil {
		s.Skip("the site under test cannot lose its controller")
	}
	s.must(s.capture("one", "").Commit(s.ctx))
	s.Write(s, id, 0, block(6))
	s.capture("two", "one")
	s.Write(s, id, far, block(7))
	s.Driver = s.Restart(s)
	c := s.capture("three", "one")
	d := s.captured(c, id)
	if ch := s.changes(d); !covers(ch, 0) || !covers(ch, far) {
		s.Errorf("changes after a restart: %+v, want all since the committed capture", ch)
	}
	if got := s.read(d, far, dr.BlockSize); !bytes.Equal(got, block(7)) {
		s.Errorf("read %x", got[0])
	}
	s.must(c.Commit(s.ctx))
	s.wantPower(s.Machine, dr.PowerOn)
}

func (s *suite) captureUnknown() {
	s.needCapture()
	_, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "conformance", Machines: []string{s.Machine, "no-such-machine"}, ID: "one"})
	s.wantKind(err, dr.KindNotFound)
	s.must(s.capture("two", "").Commit(s.ctx)) // nothing was left behind
}

func (s *suite) request() site.ProvisionRequest {
	s.Helper()
	if !s.Provision {
		s.Skip("the site under test creates no machines")
	}
	m, _ := s.find(s.Machine)
	m.Name = s.Machine + "-copy"
	m.Boot, m.NICs, m.Agent, m.Tags = dr.Boot{}, nil, false, map[string]string{"tier": "gold"}
	m.Disks = []dr.Disk{{Name: "data", Size: 4 << 20}}
	return site.ProvisionRequest{Machine: m, Owner: "run-1", Isolation: "run-1"}
}

func (s *suite) provisionDelete() {
	req := s.request()
	name := req.Machine.Name
	s.must(s.Driver.Provision(s.ctx, req))
	s.wantPower(name, dr.PowerOff)
	m, _ := s.find(name)
	if m.Owner != "run-1" || m.Tags["tier"] != "gold" {
		s.Errorf("owner %q, tags %v", m.Owner, m.Tags)
	}
	if len(m.Disks) != 1 || m.Disks[0].Size != 4<<20 || m.Disks[0].Name != "data" {
		s.Errorf("disks %+v", m.Disks)
	}
	s.must(s.Driver.Provision(s.ctx, req))
	s.must(s.Driver.Power(s.ctx, name, site.PowerStart))
	s.wantPower(name, dr.PowerOn)
	s.must(s.Driver.Provision(s.ctx, req))
	s.wantPower(name, dr.PowerOn)
	s.must(s.Driver.Delete(s.ctx, name))
	if _, ok := s.find(name); ok {
		s.Error("a deleted machine is listed")
	}
	s.must(s.Driver.Delete(s.ctx, name))
	s.must(s.Driver.Provision(s.ctx, req))
	s.wantPower(name, dr.PowerOff)
}

func (s *suite) provisionConflict() {
	req := s.request()
	s.must(s.Driver.Provision(s.ctx, req))
	req.Owner = "run-2"
	s.wantKind(s.Driver.Provision(s.ctx, req), dr.KindConflict)
	req.Machine.Name = s.Machine
	s.wantKind(s.Driver.Provision(s.ctx, req), dr.KindConflict)
	s.wantPower(s.Machine, dr.PowerOn)
}

func (s *suite) hydrate() {
	req := s.request()
	if s.Source == nil {
		s.Skip("no sources")
	}
	content := make([]byte, 4<<20)
	for i := range content {
		content[i] = byte(i >> 12)
	}
	req.Sources = map[string]string{"data": s.Source(s, content)}
	for _, running := range []bool{true, false} {
		req.Machine.Name = fmt.Sprintf("%s-copy-%v", s.Machine, running)
		s.must(s.Driver.Provision(s.ctx, req))
		if running {
			s.must(s.Driver.Power(s.ctx, req.Machine.Name, site.PowerStart))
		}
		var done, total int64
		s.must(s.Driver.Hydrate(s.ctx, req.Machine.Name, func(d, t int64) { done, total = d, t }))
		if total == 0 || done != total {
			s.Errorf("progress ended at %d of %d", done, total)
		}
		s.must(s.Driver.Hydrate(s.ctx, req.Machine.Name, nil))
		if !s.Capture {
			continue
		}
		c, err := s.Driver.Capture(s.ctx, site.CaptureRequest{Group: "copy", Machines: []string{req.Machine.Name}, ID: "copy"})
		s.must(err)
		got := s.read(s.captured(c, dr.DiskID{Machine: req.Machine.Name, Disk: "data"}), 0, len(content))
		if !bytes.Equal(got, content) {
			s.Error("the hydrated disk differs from its source")
		}
		s.must(c.Commit(s.ctx))
	}
}
