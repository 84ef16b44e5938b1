package wire

import "time"

// VaultUsage is how full a vault is.
type VaultUsage struct {
	Vault      string       `json:"vault"`
	At         *time.Time   `json:"at,omitempty" doc:"When this was so; left out when it was never added up"`
	AgeSeconds *float64     `json:"ageSeconds,omitempty"`
	Problem    string       `json:"problem,omitempty" doc:"Why it could not be added up the last time"`
	Bytes      int64        `json:"bytes"`
	Objects    int          `json:"objects"`
	FreeBytes  *int64       `json:"freeBytes,omitempty" doc:"What it can still hold; left out where that is not known"`
	Groups     []GroupUsage `json:"groups"`
}

// GroupUsage is what a vault holds of one group.
type GroupUsage struct {
	Group   string `json:"group"`
	Bytes   int64  `json:"bytes"`
	Objects int    `json:"objects"`
}

// EffectivePolicy is what a policy does.
type EffectivePolicy struct {
	Policy    Policy   `json:"policy"`
	Sentences []string `json:"sentences"`
	Points    int      `json:"points" doc:"About how many there are once it has been in force for its whole length"`
	Groups    []string `json:"groups" doc:"That it is in force for"`
}

// Retention is which of today's recovery points will be kept at a later time.
type Retention struct {
	At     time.Time       `json:"at"`
	Keep   string          `json:"keep" doc:"The tiers"`
	Kept   int             `json:"kept" doc:"How many"`
	Points []ForeseenPoint `json:"points" doc:"All of today's, the oldest first"`
}

// ForeseenPoint is a recovery point of today.
type ForeseenPoint struct {
	ID    string    `json:"id"`
	Time  time.Time `json:"time"`
	Kind  string    `json:"kind"`
	Names []string  `json:"names,omitempty" doc:"A point with a name is kept"`
	Kept  bool      `json:"kept"`
}
