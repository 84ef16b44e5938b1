package fake_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/site/sitetest"
)

func TestConformance(t *testing.T) {
	sitetest.Run(t, func(t *testing.T) *sitetest.Harness {
		s := fake.New("east")
		sources := map[string][]byte{}
		s.OpenSource = func(uri string) (io.ReaderAt, error) { return bytes.NewReader(sources[uri]), nil }
		s.AddMachine(dr.Machine{Name: "db", Power: dr.PowerOn, Disks: []dr.Disk{{Name: "data", Size: 4 << 20}, {Name: "a-log", Size: 1<<20 + 512}}})
		s.Exec = execute
		s.WriteConsole("db", "login: ")
		return &sitetest.Harness{
			Driver: s, Machine: "db", Capture: true, Provision: true, Programs: true, Console: "login:",
			Write: func(_ testing.TB, id dr.DiskID, off int64, p []byte) { s.WriteDisk(id, off, p) },
			Source: func(_ testing.TB, content []byte) string {
				sources["nbd+unix:///x"] = content
				return "nbd+unix:///x"
			},
			Restart: func(testing.TB) site.Driver { s.Restart(); return s },
		}
	})
}

// execute runs a program on this host as if it were the machine.
func execute(ctx context.Context, _ string, c site.Command) (site.CommandResult, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &out, &errs
	cmd.Env = append(os.Environ(), c.Env...)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return site.CommandResult{}, context.Cause(ctx)
	case err != nil && !errors.As(err, &exit):
		return site.CommandResult{}, dr.WithHint(err, dr.KindInvalid, "name a program that exists")
	}
	code := cmd.ProcessState.ExitCode()
	if code < 0 {
		code = 137
	}
	return site.CommandResult{ExitCode: code, Stdout: out.Bytes(), Stderr: errs.Bytes()}, nil
}

func TestFaults(t *testing.T) {
	s := fake.New("east")
	s.AddMachine(dr.Machine{Name: "db", Disks: []dr.Disk{{Name: "data", Size: 8192}}})
	broken := errors.New("broken")
	s.FailNext(fake.OpStart, broken)
	ctx := context.Background()
	if err := s.Power(ctx, "db", site.PowerStart); !errors.Is(err, broken) {
		t.Errorf("first start: %v", err)
	}
	if err := s.Power(ctx, "db", site.PowerStart); err != nil {
		t.Errorf("second start: %v", err)
	}
	if n := s.Calls(fake.OpStart); n != 2 {
		t.Errorf("%d calls", n)
	}
	id := dr.DiskID{Machine: "db", Disk: "data"}
	s.OnNext(fake.OpCapture, func() { s.WriteDisk(id, 0, []byte("x")) })
	c, err := s.Capture(ctx, site.CaptureRequest{Group: "g", Machines: []string{"db"}, ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	s.WriteDisk(id, 0, []byte("y"))
	p := make([]byte, 1)
	if _, err := c.Disks()[0].ReadAt(p, 0); err != nil || p[0] != 'x' {
		t.Errorf("read %q, %v", p, err)
	}
	if got := s.ReadDisk(id, 0, 1); got[0] != 'y' {
		t.Errorf("disk has %q", got)
	}
	s.FailNext(fake.OpCommit, broken)
	if err := c.Commit(ctx); !errors.Is(err, broken) {
		t.Errorf("commit: %v", err)
	}
	if err := c.Abort(ctx); err != nil {
		t.Errorf("abort: %v", err)
	}
}
