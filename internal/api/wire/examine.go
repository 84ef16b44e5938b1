package wire

// Examination says whether all that a site needs is there.
type Examination struct {
	Findings []Finding `json:"findings"`
	Role     string    `json:"role,omitempty" doc:"What the identity that the site is used by must be allowed, as the provider's tools take it"`
}

// Finding is one thing that was examined.
type Finding struct {
	Check   string `json:"check"`
	Status  string `json:"status" enum:"ok,warn,fail"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}
