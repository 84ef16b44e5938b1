package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A site whose folder went away cannot be reached: its machines are not known to be gone.
func TestSiteGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	if err := os.MkdirAll(filepath.Join(dir, "machines"), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Dir: dir, Accel: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Power(t.Context(), "db", site.PowerShutdown); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("a machine that no site has: %v", err)
	}
	if err := os.Rename(dir, dir+".lost"); err != nil {
		t.Fatal(err)
	}
	_, err = d.Machines(t.Context())
	perr := d.Power(t.Context(), "db", site.PowerShutdown)
	for _, err := range []error{err, perr} {
		if dr.KindOf(err) != dr.KindUnavailable || !strings.Contains(err.Error(), "is not there") || dr.Hint(err) == "" {
			t.Errorf("of a site that is gone: %v (%s)", err, dr.Hint(err))
		}
	}
}
