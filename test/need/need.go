// Package need says what a test needs of the machine. Without it the test is skipped with a message that names it;
// with UNDERSTUDY_TEST_ALL=1, which CI sets, a missing thing fails the test instead.
package need

import (
	"os"
	"os/exec"
	"testing"
)

func all() bool { return os.Getenv("UNDERSTUDY_TEST_ALL") == "1" }

// Tool needs programs on the PATH.
func Tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, name+" is not installed: run `make setup`")
		}
	}
}

// Guest needs QEMU and the time that booting a guest takes; it returns the folder of guest files
// (vmlinuz, initrd.gz) that `make guest` builds.
func Guest(t testing.TB) string {
	t.Helper()
	if !all() {
		t.Skip("boots a guest: run `make test`, or set UNDERSTUDY_TEST_ALL=1 after `make setup guest`")
	}
	Tool(t, "qemu-system-x86_64", "qemu-img")
	dir := os.Getenv("UNDERSTUDY_GUEST_DIR")
	if dir == "" {
		t.Fatal("UNDERSTUDY_GUEST_DIR is not set: run `make test`")
	}
	if _, err := os.Stat(dir + "/vmlinuz"); err != nil {
		t.Fatalf("no guest kernel: run `make guest`: %v", err)
	}
	return dir
}

// Missing skips or fails the test for a need that the test found out itself; why says what is missing and the remedy.
func Missing(t testing.TB, why string) {
	t.Helper()
	if all() {
		t.Fatal(why)
	}
	t.Skip(why)
}
