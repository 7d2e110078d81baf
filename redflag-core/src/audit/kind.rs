//! The closed sets of words of the audit log: what happened, and what is told of it.
//!
//! A word is never taken away or given another meaning: entries are for ever. A reader that does not know a word cannot read the
//! entry, so what verifies a log must not be older than what wrote it.

use crate::words::words;

words! {
    /// What an entry of the audit log is about.
    "kind of entry" AuditKind {
        /// The log begins: its first entry, and no other.
        LogBegun = "log-begun",
        /// A batch of the feed: decisions, reports, and what commands led to.
        Batch = "batch",
        /// A server started: on which terms, with which keys.
        ServerStarted = "server-started",
        /// Another key signs checkpoints.
        AuditKeyChanged = "audit-key-changed",
        /// A link that signs an operator in was made.
        SignInLinkMade = "sign-in-link-made",
        /// An operator signed in.
        SignedIn = "signed-in",
        /// Somebody was refused who wanted to sign in; one entry may stand for many.
        SignInRefused = "sign-in-refused",
        /// An operator signed out.
        SignedOut = "signed-out",
        /// An account was made.
        AccountMade = "account-made",
        /// The role or standing of an account was changed.
        AccountChanged = "account-changed",
        /// A password was set.
        PasswordSet = "password-set",
        /// An account got a second factor.
        SecondFactorSet = "second-factor-set",
        /// The second factor of an account was taken away.
        SecondFactorRemoved = "second-factor-removed",
        /// An API token was made.
        TokenMade = "token-made",
        /// An API token was revoked.
        TokenRevoked = "token-revoked",
        /// A token with which agents enrol was made.
        EnrolmentTokenMade = "enrolment-token-made",
        /// An agent was enrolled.
        AgentEnrolled = "agent-enrolled",
        /// An agent is about to be removed.
        AgentRemoval = "agent-removal",
        /// An agent's key came into quarantine.
        AgentQuarantined = "agent-quarantined",
        /// An agent's key was let out of quarantine.
        QuarantineLifted = "quarantine-lifted",
        /// A key of a person was listed.
        SignerListed = "signer-listed",
        /// A key of a person was revoked.
        SignerRevoked = "signer-revoked",
        /// A command was asked for.
        CommandRequested = "command-requested",
        /// A command was asked for again.
        CommandRetried = "command-retried",
        /// A plan was confirmed.
        PlanConfirmed = "plan-confirmed",
        /// A key of a person signed a command.
        CommandSigned = "command-signed",
        /// A command was called off.
        CommandCancelled = "command-cancelled",
        /// A command was handed out to its agent.
        CommandHandedOut = "command-handed-out",
        /// An agent said how a command ended.
        CommandEnded = "command-ended",
        /// An agent said more of a command that had ended.
        CommandSaidLate = "command-said-late",
        /// A decision about many updates was begun.
        BulkDecision = "bulk-decision",
        /// All commands were halted.
        Halted = "halted",
        /// The halt was lifted.
        HaltLifted = "halt-lifted",
        /// The start of logs was about to be taken away.
        Pruning = "pruning",
        /// A witness says that the log has forked.
        ForkReported = "fork-reported",
        /// Another key of the server signs commands.
        SigningKeyChanged = "signing-key-changed",
        /// Who signs commands, what may be installed without a second look, or how one signs in, is not what it was at the last start.
        TermsChanged = "terms-changed",
        /// The end of the log was damaged, and it goes on behind it.
        ContinuedAfterDamage = "continued-after-damage",
    }
}

words! {
    /// What a fact of an entry is.
    "fact" FactName {
        /// A name of an account.
        Account = "account",
        /// What is done, or was.
        Action = "action",
        /// From where.
        Address = "address",
        /// Which agent.
        Agent = "agent",
        /// In which words.
        Comment = "comment",
        /// Which command.
        Command = "command",
        /// The [`crate::signing::key_id`] of the key that signs checkpoints.
        AuditKeyId = "audit-key-id",
        /// How it was before.
        Before = "before",
        /// How many.
        Count = "count",
        /// The place in the agent's row of commands.
        Counter = "counter",
        /// What was decided.
        Decision = "decision",
        /// A digest of what it is about.
        Digest = "digest",
        /// A digest of what was signed and handed out, with the signatures of people.
        Envelope = "envelope",
        /// Until when.
        ExpiresAt = "expires-at",
        /// Of what.
        Filter = "filter",
        /// A [`crate::signing::key_id`].
        KeyId = "key-id",
        /// A digest of what was said late.
        Late = "late",
        /// Whose keys sign commands.
        Mode = "mode",
        /// How it is called.
        Name = "name",
        /// The [`crate::signing::key_id`] before.
        OldKeyId = "old-key-id",
        /// Which bulk decision.
        Operation = "operation",
        /// A digest of what a command orders, on whose consent and on which terms.
        Order = "order",
        /// Why.
        Reason = "reason",
        /// A digest of how a command ended.
        Result = "result",
        /// How often it had changed.
        Revision = "revision",
        /// What an account may do.
        Role = "role",
        /// Whether everybody who signs in has to have a second factor.
        SecondFactor = "second-factor",
        /// What a token may do, or which side effects are allowed.
        Scopes = "scopes",
        /// Where something stands now.
        State = "state",
        /// The short name of a token, which is no secret.
        Token = "token",
        /// A random number, so that no two logs are the same.
        Nonce = "nonce",
        /// The version of a program.
        Version = "version",
        /// What is older goes.
        Window = "window",
    }
}
