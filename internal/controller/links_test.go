package controller

import (
	"reflect"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestLinks(t *testing.T) {
	status := func(site, target string, h dr.Health, recoverable bool, lose time.Duration) Status {
		return Status{Group: dr.Group{Site: site, Vault: "main", Target: target}, Health: h, Recoverable: recoverable, Lose: lose}
	}
	got := links([]Status{
		status("west", "east", dr.HealthHealthy, true, time.Second),
		status("east", "west", dr.HealthWarning, true, 9*time.Second),
		status("east", "west", dr.HealthUnknown, true, 2*time.Second),
		status("east", "west", dr.HealthHealthy, false, time.Hour), // nothing of it can be recovered, so nothing of it lags
		status("east", "east", dr.HealthCritical, false, 0),
	})
	want := []Link{
		{"east", "main", "east", 1, dr.HealthCritical, false, 0},
		{"east", "main", "west", 3, dr.HealthUnknown, true, 9 * time.Second},
		{"west", "main", "east", 1, dr.HealthHealthy, true, time.Second},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := links(nil); got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
