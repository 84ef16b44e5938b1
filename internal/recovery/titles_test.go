package recovery

import (
	"testing"

	"understudy/internal/dr"
)

func TestWaitTitle(t *testing.T) {
	for want, p := range map[string]dr.Probe{
		"wait for shop-web to answer HTTP on port 80":            {Kind: dr.ProbeHTTP, Port: 80, Path: "/"},
		"wait for shop-web to answer HTTP on port 80 at /health": {Kind: dr.ProbeHTTP, Port: 80, Path: "health"},
		"wait for shop-web to accept connections on port 7000":   {Kind: dr.ProbeTCP, Port: 7000},
		`wait for "login:" on the console of shop-web`:           {Kind: dr.ProbeSerial, Text: "login:"},
		"wait for the guest agent of shop-web to answer":         {Kind: dr.ProbeAgent},
		"wait until shop-web runs":                               {},
	} {
		if got, missing := waitTitle(p, "shop-web"); got != want || missing == "" {
			t.Errorf("%q (%s), want %q", got, missing, want)
		}
	}
}
