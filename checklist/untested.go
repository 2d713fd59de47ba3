package checklist

// The items below wait for their probes. They are on the list already, because a
// reader must see what was not tested.

func lostReplyRetrySafe() Item {
	return Item{
		ID:       "lost_reply_retry_safe",
		Question: "is it safe to retry when the reply was lost?",
		Why:      "The client that retries an acquire which had succeeded waits for itself, or leaves an orphan that blocks everybody.",
		Severity: Major,
		Probes:   []string{"lose-acquire-reply"},
		Fix:      map[string]string{"": "Send the same identity with each retry of an attempt, so that the service recognises its own grant."},
	}
}
