package controller

import (
	"errors"
	"sync/atomic"
	"testing"

	"understudy/internal/dr"
)

// TestAbsentSiteIsNotBegunAnew restarts the controller while a site's folder is away: the site is unavailable, with a
// hint, and is opened as soon as it is back.
func TestAbsentSiteIsNotBegunAnew(t *testing.T) {
	s := setUp(t)
	addMachine(t, s.east, "db")
	s.end()
	away := dr.WithHint(errors.New("no such folder"), dr.KindUnavailable, "mount it")
	var back atomic.Bool
	s.cfg.SitePresent = func(v dr.Site) error {
		if v.Name == "east" && !back.Load() {
			return away
		}
		return nil
	}
	open(t, s)
	_, err := s.Machines(t.Context(), "east")
	if !errors.Is(err, away) || dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) != "mount it" {
		t.Fatalf("machines of a site that is away: %v", err)
	}
	if _, err := s.Machines(t.Context(), "west"); err != nil {
		t.Errorf("machines of the other site: %v", err)
	}
	back.Store(true)
	if list, err := s.Machines(t.Context(), "east"); err != nil || len(list) != 1 {
		t.Errorf("machines of the site when it is back: %v, %v", list, err)
	}
}
