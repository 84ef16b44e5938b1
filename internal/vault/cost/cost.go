// Package cost estimates what a vault in an object store costs: what is stored, and the requests of replication.
package cost

import (
	"errors"
	"fmt"
	"time"

	"understudy/internal/dr"
)

// Prices of an object store.
type Prices struct {
	Currency string  `yaml:"currency" json:"currency"`
	Stored   float64 `yaml:"storedGiBMonth" json:"storedGiBMonth"`
	Put      float64 `yaml:"putThousand" json:"putThousand"`   // per thousand that write; deletions are free
	List     float64 `yaml:"listThousand" json:"listThousand"` // per thousand that list
	Get      float64 `yaml:"getThousand" json:"getThousand"`   // per thousand that read
}

// Validate reports what is wrong with prices.
func (p Prices) Validate() error {
	if p.Currency == "" || min(p.Stored, p.Put, p.List, p.Get) < 0 {
		return dr.WithHint(errors.New("prices need a currency, and are not negative"), dr.KindInvalid, "see `understudy vault cost --help`")
	}
	return nil
}

// Defaults are list prices that were published for one region and the usual class of storage, without what is free or
// cheaper by the terabyte. They change: give your own.
var Defaults = map[string]Prices{
	"s3":     {Currency: "USD", Stored: 0.023, Put: 0.005, List: 0.005, Get: 0.0004}, // S3 Standard, us-east-1
	"azblob": {Currency: "USD", Stored: 0.018, Put: 0.005, List: 0.005, Get: 0.0004}, // hot, locally redundant, East US
	"file":   {Currency: "USD", Stored: 0, Put: 0, List: 0, Get: 0},
}

// Requests are counts of requests by what they cost.
type Requests struct {
	Put  float64 `json:"put"`
	List float64 `json:"list"`
	Get  float64 `json:"get"`
}

// What replication through a spool asks of a store: in each cycle, and more for each point that is made, its share of
// compaction included. TestRequests of package replicate counts.
var (
	PerCycle = Requests{Put: 0.2, Get: 1}
	PerPoint = Requests{Put: 1, List: 0.1, Get: 7.5}
)

// Use is how a group uses a store.
type Use struct {
	Group  string
	Bytes  int64
	Points float64       // made per day
	Every  time.Duration // between cycles; 0: as often as points are made
	Parts  float64       // requests that write one point's object; 0 means 1
}

// month is how long prices are for: the year's twelfth.
const month = 365.25 / 12

// An Estimate is what a group costs in a month.
type Estimate struct {
	Group        string   `json:"group"`
	GiB          float64  `json:"gibMonths"`
	PointsPerDay float64  `json:"pointsPerDay"`
	Cycles       float64  `json:"cyclesPerDay"`
	Requests     Requests `json:"requestsPerMonth"`
	Storage      float64  `json:"storageCost"`
	Request      float64  `json:"requestCost"`
	Total        float64  `json:"totalCost"`
	Currency     string   `json:"currency"`
}

// Of estimates what a use costs in a month that goes on as it is.
func Of(u Use, p Prices) Estimate {
	e := Estimate{Group: u.Group, GiB: float64(u.Bytes) / (1 << 30), PointsPerDay: u.Points, Cycles: u.Points, Currency: p.Currency}
	if u.Every > 0 { // a cycle makes one point at most
		e.Cycles = float64(24*time.Hour) / float64(u.Every)
		u.Points = min(u.Points, e.Cycles)
		e.PointsPerDay = u.Points
	}
	more := max(u.Parts-1, 0)
	e.Requests = Requests{
		Put:  month * (e.Cycles*PerCycle.Put + u.Points*(PerPoint.Put+more)),
		List: month * (e.Cycles*PerCycle.List + u.Points*PerPoint.List),
		Get:  month * (e.Cycles*PerCycle.Get + u.Points*PerPoint.Get),
	}
	e.Storage = e.GiB * p.Stored
	e.Request = (e.Requests.Put*p.Put + e.Requests.List*p.List + e.Requests.Get*p.Get) / 1000
	e.Total = e.Storage + e.Request
	return e
}

// Lifecycle is what to have a provider do with a vault's objects by itself.
func Lifecycle(provider string, locks bool) (rules []string) {
	switch provider {
	case "s3":
		rules = []string{"remove uploads that were not completed after 7 days (AbortIncompleteMultipartUpload)"}
		if locks {
			rules = append(rules, "remove older versions 1 day after they were replaced (NoncurrentVersionExpiration), and markers of deletion (ExpiredObjectDeleteMarker)")
		}
		rules = append(rules, "do not move objects to colder classes before 30 days, nor to one that does not answer at once: points are opened from them, and compaction replaces most within hours")
	case "azblob":
		rules = []string{"blocks that were not committed are removed by the service after 7 days"}
		if locks {
			rules = append(rules, "remove earlier versions 1 day after they were replaced (Microsoft.Storage management policy, version, delete)")
		}
		rules = append(rules, "do not move objects to cool or cold before 30 days, nor to archive at all: points are opened from them, and compaction replaces most within hours")
	default:
		rules = []string{"none: a folder has no lifecycle rules"}
	}
	return append(rules, "no rule may delete objects by their age: retention does that, and knows what is needed")
}

// Text is an amount of money.
func Text(amount float64, currency string) string { return fmt.Sprintf("%.2f %s", amount, currency) }
