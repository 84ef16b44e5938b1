package scratch

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain lets the test run itself as a process that dies in the middle of its work.
func TestMain(m *testing.M) {
	if file := os.Getenv("SCRATCH_DIES_OVER"); file != "" {
		_, _, err := Dir()
		if err == nil {
			_, err = Part(file)
		}
		if err != nil {
			os.Exit(2)
		}
		os.Exit(7)
	}
	os.Exit(m.Run())
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestWhatDeadProcessesLeaveGoes(t *testing.T) {
	tmp, place := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	file := filepath.Join(place, "out[1].raw")
	for _, keep := range []string{"understudy-foreign/x", "other/x"} {
		if err := os.MkdirAll(filepath.Join(tmp, keep), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, keep := range []string{".out[1].raw.1.partial", ".out1.raw.1.part", "out[1].raw.1.part"} {
		if err := os.WriteFile(filepath.Join(place, keep), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	used, remove, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	part, err := Part(file)
	if err != nil {
		t.Fatal(err)
	}
	dies := exec.Command(os.Args[0])
	dies.Env = append(os.Environ(), "SCRATCH_DIES_OVER="+file)
	if err := dies.Run(); dies.ProcessState == nil || dies.ProcessState.ExitCode() != 7 {
		t.Fatal(err)
	}
	if n, m := len(names(t, tmp)), len(names(t, place)); n != 4 || m != 5 {
		t.Fatalf("the dead process left nothing: %v, %v", names(t, tmp), names(t, place))
	}
	again, removeAgain, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	more, err := Part(file)
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	for _, there := range []string{used, again, part.Name(), more.Name(), filepath.Join(tmp, "understudy-foreign", "x")} {
		if _, err := os.Stat(there); err != nil {
			t.Error(err)
		}
	}
	if n, m := len(names(t, tmp)), len(names(t, place)); n != 4 || m != 5 {
		t.Errorf("left: %v, %v", names(t, tmp), names(t, place))
	}
	part.Close()
	remove()
	removeAgain()
	remove()
	if left := names(t, tmp); len(left) != 2 {
		t.Errorf("after all: %v", left)
	}

	// One that died before it had a lock is told from one that is just being made by its age.
	old := filepath.Join(tmp, prefix+"old")
	for _, dir := range []string{old, filepath.Join(tmp, prefix+"new")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*young)); err != nil {
		t.Fatal(err)
	}
	sweepDirs(tmp, time.Now())
	if left := names(t, tmp); len(left) != 3 {
		t.Errorf("empty folders: %v", left)
	}
}
