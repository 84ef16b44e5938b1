package cost

import (
	"math"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestOf(t *testing.T) {
	prices := Prices{Currency: "EUR", Stored: 0.02, Put: 0.005, List: 0.005, Get: 0.0004}
	// 100 GiB, a point a minute, looked at every 5 s.
	e := Of(Use{Group: "shop", Bytes: 100 << 30, Points: 1440, Every: 5 * time.Second}, prices)
	puts := month * (17280*PerCycle.Put + 1440*PerPoint.Put)
	if e.Cycles != 17280 || math.Abs(e.Requests.Put-puts) > 1e-6 || math.Abs(e.Storage-2) > 1e-9 || math.Abs(e.Total-e.Storage-e.Request) > 1e-9 {
		t.Errorf("%+v", e)
	}
	if e.Request < 0.5 || e.Request > 3 {
		t.Errorf("requests for %s", Text(e.Request, e.Currency))
	}
	if e := Of(Use{Points: 1440, Every: time.Hour}, prices); e.Cycles != 24 || e.PointsPerDay != 24 {
		t.Errorf("%+v", e)
	}
	if few, many := Of(Use{Points: 100}, prices), Of(Use{Points: 100, Parts: 10}, prices); many.Requests.Put-few.Requests.Put != 900*month {
		t.Errorf("%+v, %+v", few, many)
	}
	if e := Of(Use{Group: "empty"}, prices); e.Total != 0 {
		t.Errorf("%+v", e)
	}
}

func TestPrices(t *testing.T) {
	for provider, p := range Defaults {
		if err := p.Validate(); err != nil || len(Lifecycle(provider, true)) < len(Lifecycle(provider, false)) {
			t.Errorf("%s: %v", provider, err)
		}
	}
	for _, p := range []Prices{{}, {Currency: "USD", Get: -1}} {
		if err := p.Validate(); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
