package controller

import (
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A guest that stood still when a controller died goes on when its site is opened: so every site is, also that of a
// group which is not replicated.
func TestSitesAreOpened(t *testing.T) {
	s := setUp(t)
	addMachine(t, s.east, "db")
	if _, err := s.Protect(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	s.end()
	opened := make(chan string, 4)
	openSite := s.cfg.OpenSite
	s.cfg.OpenSite = func(v dr.Site) (site.Driver, error) {
		opened <- v.Name
		return openSite(v)
	}
	open(t, s)
	for range 2 {
		select {
		case <-opened:
		case <-time.After(10 * time.Second):
			t.Fatal("a site is not opened")
		}
	}
}
