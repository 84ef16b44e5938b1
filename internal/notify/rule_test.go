package notify

import (
	"slices"
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestRoute(t *testing.T) {
	lag := Event{Topic: TopicLag, Kind: Problem, Severity: Warning, Group: "shop-db", Sites: []string{"east", "west"}}
	over := lag
	over.Kind, over.Ends = Resolved, "lag-1"
	drill := Event{Topic: TopicDrill, Kind: Success, Severity: Info, Group: "mail", Sites: []string{"east"}}
	for _, tt := range []struct {
		name  string
		rules []Rule
		event Event
		want  string
	}{
		{"without rules everything goes everywhere", nil, drill, "mail ops pager"},
		{"a rule for one silences no other", []Rule{{Channels: []string{"pager"}, Severity: Critical}}, lag, "mail ops"},
		{"severity and worse", []Rule{{Channels: []string{"pager"}, Severity: Warning}}, lag, "mail ops pager"},
		{"any of its rules", []Rule{{Channels: []string{"pager"}, Severity: Critical}, {Channels: []string{"pager"}, Topics: []Topic{TopicLag}}}, lag, "mail ops pager"},
		{"groups by pattern", []Rule{{Channels: []string{"ops", "mail"}, Groups: []string{"shop-*"}}}, lag, "mail ops pager"},
		{"other groups", []Rule{{Channels: []string{"ops", "mail"}, Groups: []string{"shop-*"}}}, drill, "pager"},
		{"any of its sites", []Rule{{Channels: []string{"ops"}, Sites: []string{"w*"}}}, lag, "mail ops pager"},
		{"no site of it", []Rule{{Channels: []string{"ops"}, Sites: []string{"w*"}}}, drill, "mail pager"},
		{"kinds", []Rule{{Channels: []string{"ops"}, Kinds: []Kind{Problem, Failure}}}, drill, "mail pager"},
		{"an end goes where its problem went", []Rule{{Channels: []string{"ops"}, Kinds: []Kind{Problem, Failure}}}, over, "mail ops pager"},
		{"all of a rule must hold", []Rule{{Channels: []string{"ops"}, Topics: []Topic{TopicLag}, Severity: Critical}}, lag, "mail pager"},
		{"a rule of a channel that is gone", []Rule{{Channels: []string{"gone"}}}, lag, "mail ops pager"},
	} {
		if got := Route([]string{"mail", "ops", "pager"}, tt.rules, tt.event); strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestRuleCheck(t *testing.T) {
	for want, r := range map[string]Rule{
		"no name":        {Channels: []string{"a"}},
		"no channel":     {Name: "r"},
		"topic":          {Name: "r", Channels: []string{"a"}, Topics: []Topic{"weather"}},
		"kind":           {Name: "r", Channels: []string{"a"}, Kinds: []Kind{"bad"}},
		"severity":       {Name: "r", Channels: []string{"a"}, Severity: "fatal"},
		"is no pattern":  {Name: "r", Channels: []string{"a"}, Groups: []string{"[x"}},
		`"" is no patte`: {Name: "r", Channels: []string{"a"}, Sites: []string{""}},
	} {
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), want) || dr.Hint(err) == "" {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	if !slices.IsSortedFunc(Severities(), Severity.Compare) {
		t.Error("severities are not in order")
	}
}
