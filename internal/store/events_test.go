package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"understudy/internal/store"
)

func TestEventsSelected(t *testing.T) {
	s, ctx := open(t, filepath.Join(t.TempDir(), "s.db")), t.Context()
	for _, e := range []store.Event{
		{Kind: "run.started", Group: "shop", Run: "r1", Message: "failover of shop"},
		{Kind: "run.ended", Group: "shop", Run: "r1", Message: "100% done"},
		{Kind: "runaway", Group: "mail", Message: "C:\\data_1"},
		{Kind: "split-brain", Group: "mail", Message: "west/db runs"},
	} {
		if _, err := s.AppendEvent(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		f    store.EventFilter
		want string
	}{
		{store.EventFilter{}, "1 2 3 4"},
		{store.EventFilter{Newest: true}, "4 3 2 1"},
		{store.EventFilter{Newest: true, Before: 4, Limit: 2}, "3 2"},
		{store.EventFilter{After: 1, Before: 4}, "2 3"},
		{store.EventFilter{Kind: "run.ended"}, "2"},
		{store.EventFilter{Kind: "run."}, "1 2"},
		{store.EventFilter{Kind: "run"}, ""},
		{store.EventFilter{Group: "mail", Newest: true}, "4 3"},
		{store.EventFilter{Run: "r1", Kind: "run.", Text: "FAILOVER"}, "1"},
		{store.EventFilter{Text: "0%"}, "2"},
		{store.EventFilter{Text: "%"}, "2"},
		{store.EventFilter{Text: "_1"}, "3"},
		{store.EventFilter{Text: `:\d`}, "3"},
		{store.EventFilter{Text: "mail"}, "3 4"},
		{store.EventFilter{Text: "split-"}, "4"},
	} {
		list, err := s.Events(ctx, tt.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list {
			got = append(got, fmt.Sprint(e.Sequence))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: got %v, want %s", tt.f, got, tt.want)
		}
	}
}
