-- The charge for a passport. Read only, by primary keys.
SELECT o.price_cents, o.charged_at
  FROM passport p
  JOIN overage_charge o ON o.company_number = p.company_number AND o.passport_id = p.id
 WHERE p.id = decode($1, 'hex')
