-- What a passport was charged. Read only, by primary key.
SELECT price_cents, charged_at FROM overage_charge WHERE passport_id = $1
