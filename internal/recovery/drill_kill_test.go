package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/recovery/drill"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault/blob/file"
)

func (s *dirSite) Delete(_ context.Context, name string) (err error) {
	if _, ok := s.load(name); ok {
		err = errors.Join(s.note("delete "+name), os.Remove(filepath.Join(s.dir, name+".json")))
	}
	s.after()
	return err
}

// note adds to the log of effects.
func (s *dirSite) note(effect string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, "effects"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, effect)
	return errors.Join(err, f.Close())
}

func (s *dirSite) Screenshot(context.Context, string) ([]byte, error) {
	var b bytes.Buffer
	err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 8)))
	s.after()
	return b.Bytes(), err
}

func (s *dirSite) Console(context.Context, string, int) ([]byte, error) {
	s.after()
	return []byte("login:"), nil
}

// TestDrillKill kills the controller with SIGKILL again and again during a drill. It goes on, nothing is done twice, the
// evidence is whole, nothing is left, and the drill counts.
func TestDrillKill(t *testing.T) {
	dir := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(identity.String()), 0o600))
	blobs, err := file.Open(filepath.Join(dir, "vault"), true)
	must(t, err)
	w := newWorldOn(t, dir, newVault(t, blobs, identity))
	must(t, w.store.Close())
	must(t, os.Mkdir(filepath.Join(dir, "west"), 0o700))
	kills := 0
	for ; ; kills++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RECOVERY_TEST_CHILD="+dir, fmt.Sprint("RECOVERY_TEST_KILL=", 1+kills%5+kills/6), "RECOVERY_TEST_KIND="+recovery.KindDrill)
		cmd.Stderr = os.Stderr
		err := cmd.Run()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 || kills > 60 {
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	t.Logf("%d kills", kills)
	if kills < 6 {
		t.Errorf("killed only %d times", kills)
	}
	s, err := store.Open(t.Context(), filepath.Join(dir, "state.db"), store.Options{})
	must(t, err)
	defer s.Close()
	runs, err := s.Runs(t.Context(), store.RunFilter{})
	must(t, err)
	if len(runs) != 1 || runs[0].State != store.RunSucceeded {
		t.Fatalf("runs %+v", runs)
	}
	data, err := os.ReadFile(filepath.Join(dir, "west", "effects"))
	must(t, err)
	effects := map[string]int{}
	for line := range strings.Lines(string(data)) {
		effects[strings.TrimSpace(line)]++
	}
	for _, m := range shop.Machines {
		for _, e := range []string{"create ", "start ", "delete "} {
			if n := effects[e+m.Name+"-test-"+runs[0].ID]; n != 1 {
				t.Errorf("%s%s: %d times", e, m.Name, n)
			}
		}
	}
	left, err := (&dirSite{dir: filepath.Join(dir, "west"), after: func() {}}).Machines(t.Context())
	if err != nil || len(left) != 0 {
		t.Errorf("left: %+v %v", left, err)
	}
	for _, it := range (drill.Archive{Dir: dir + "/evidence"}).Load(runs[0].ID, result(t, runs[0]).Drill.Evidence) {
		if it.Missing != "" || len(it.Data) == 0 {
			t.Errorf("evidence %+v", it)
		}
	}
	p, err := s.Protection(t.Context(), "shop")
	if err != nil || p.ProvenRun != runs[0].ID || p.Test != dr.TestNone {
		t.Errorf("protection %+v %v", p, err)
	}
}

var (
	_ site.Screenshoter  = (*dirSite)(nil)
	_ site.ConsoleReader = (*dirSite)(nil)
)
